"""Many deadlines on one timer: an event loop timer per POST would cost a fifth of the whole POST."""

import asyncio
from time import monotonic
from types import TracebackType
from typing import Final, Self

TICK_SECONDS: Final = 0.05


class Deadline:
    """Use with ``with``: when the time is up, the body is cancelled and TimeoutError is raised."""

    __slots__ = ("_bucket", "_cancelling_before", "_has_struck", "_task")

    def __init__(self, task: asyncio.Task[object], bucket: "set[Deadline]") -> None:
        self._task = task
        self._bucket = bucket
        self._cancelling_before = task.cancelling()
        self._has_struck = False

    def strike(self) -> None:
        """Cancel the task: its time is up."""
        self._has_struck = True
        self._task.cancel()

    def __enter__(self) -> Self:
        self._bucket.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bucket.discard(self)
        if self._has_struck and self._task.uncancel() <= self._cancelling_before and kind is asyncio.CancelledError:
            raise TimeoutError from error  # otherwise someone else cancelled as well, and that takes precedence


class Deadlines:
    """Keeps deadlines in buckets of 50 ms that fire together: never early, at most one bucket late."""

    def __init__(self) -> None:
        self._buckets: dict[int, set[Deadline]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> Deadline:
        """Give the running task a deadline, ``seconds`` from now. Raises RuntimeError outside a task."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline can only be set inside a task")
        tick = int((monotonic() + seconds) / TICK_SECONDS) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = set()
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._strike)
        return Deadline(task, bucket)

    def _strike(self) -> None:
        now_tick = int(monotonic() / TICK_SECONDS)
        for tick in [tick for tick in self._buckets if tick <= now_tick]:
            for deadline in self._buckets.pop(tick):
                deadline.strike()
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._strike) if self._buckets else None
