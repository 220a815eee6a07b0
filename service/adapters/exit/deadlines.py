"""Many deadlines on one timer: an event loop timer per POST would cost a fifth of the whole POST.

A deadline measures the receiver, so it leaves out the time in which our own event loop was held up: a reply that came
meanwhile could not be read. How long that was shows by how late the timer fires.
"""

import asyncio
from itertools import chain
from math import inf
from time import monotonic
from types import TracebackType
from typing import Final, Self

TICK_SECONDS: Final = 0.05


class HeldUpError(Exception):
    """The deadline would have been extended by the time we lost, but not that far: the fault is ours."""


class Deadline:
    """Use with ``with``: when the time is up, the body is cancelled, and TimeoutError or HeldUpError is raised."""

    __slots__ = (
        "_cancelling_before",
        "_has_struck",
        "_lost_seconds",
        "_task",
        "began_at",
        "bucket",
        "ends_at",
        "limit_at",
    )

    def __init__(self, task: asyncio.Task[object], now: float, seconds: float, limit_seconds: float) -> None:
        self._task = task
        self._cancelling_before = task.cancelling()
        self._has_struck = False
        self.began_at = now
        self.ends_at = now + min(seconds, limit_seconds)
        self.limit_at = now + limit_seconds
        self._lost_seconds = 0.0
        self.bucket: set[Deadline] = set()

    def require(self) -> None:
        """Raise HeldUpError if the limit is past: the timer may not have fired yet."""
        if monotonic() >= self.limit_at:
            raise HeldUpError("this worker was held up")

    def extend(self, lost_seconds: float) -> None:
        """Leave out ``lost_seconds`` that were lost by us, as far as the limit allows."""
        self._lost_seconds += lost_seconds
        self.ends_at += lost_seconds

    def strike(self) -> None:
        """Cancel the task: its time is up."""
        self._has_struck = True
        self._task.cancel()

    def __enter__(self) -> Self:
        self.bucket.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bucket.discard(self)
        if self._has_struck and self._task.uncancel() <= self._cancelling_before and kind is asyncio.CancelledError:
            if self.ends_at > self.limit_at:
                raise HeldUpError(f"this worker was held up for {self._lost_seconds:.1f} s") from error
            raise TimeoutError from error  # otherwise someone else cancelled as well, and that takes precedence


class Deadlines:
    """Keeps deadlines in buckets of 50 ms that fire together: never early, at most one bucket late.

    Lost time is added up, and granted to all deadlines once it exceeds a bucket: so a loop that runs on time pays
    nothing for this.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, set[Deadline]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._expected_at = 0.0
        self._lost_seconds = 0.0

    def within(self, seconds: float, *, limit_seconds: float = inf) -> Deadline:
        """Give the running task a deadline, ``seconds`` from now without the time that we lose meanwhile.

        It strikes after ``limit_seconds`` at the latest. Raises RuntimeError outside a task.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline can only be set inside a task")
        now = monotonic()
        deadline = Deadline(task, now, seconds, limit_seconds)
        self._place(deadline)
        if self._timer is None:
            self._lost_seconds = 0.0
            self._schedule(now)
        return deadline

    def strike(self, now: float, expected_at: float) -> None:
        """End what is due at ``now``; the loop got to this as late as ``expected_at`` is past."""
        self._lost_seconds += max(0.0, now - expected_at)
        if self._lost_seconds > TICK_SECONDS:
            self._grant(now)
        now_tick = int(now / TICK_SECONDS)
        for tick in [tick for tick in self._buckets if tick <= now_tick]:
            for deadline in self._buckets.pop(tick):
                deadline.strike()

    def _grant(self, now: float) -> None:
        """Extend every deadline by the lost time, but none by more than has passed since it was set."""
        lost_seconds, self._lost_seconds = self._lost_seconds, 0.0
        extended, self._buckets = list(chain.from_iterable(self._buckets.values())), {}
        for deadline in extended:
            deadline.extend(min(lost_seconds, now - deadline.began_at))
            self._place(deadline)
            deadline.bucket.add(deadline)

    def _place(self, deadline: Deadline) -> None:
        tick = int(min(deadline.ends_at, deadline.limit_at) / TICK_SECONDS) + 1
        deadline.bucket = self._buckets.setdefault(tick, set())

    def _schedule(self, now: float) -> None:
        self._expected_at = now + TICK_SECONDS
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        now = monotonic()
        self.strike(now, self._expected_at)
        self._timer = None
        if self._buckets:
            self._schedule(now)
