"""How long a request waits for the database before it is told to come again."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from service.ports.errors import UnavailableError

PATIENCE_SECONDS: Final = 4.5
"""For all that a request asks of the database, so that it is answered within five seconds."""

LEAVE_SECONDS_MAX: Final = 2.0
"""How long the end of the application waits for what was given up: a database that hangs never lets go."""

_left_behind: Final[set[asyncio.Task[Any]]] = set()
"""What was given up and still ends: a transaction rolls back, a connection is given back. The pool bounds them."""

Found = TypeVar("Found")


class Patience:
    """One request's time for waiting on the database. Reading its body does not count: that waits for the client."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds_left = PATIENCE_SECONDS if seconds is None else seconds

    async def wait(self, work: Coroutine[Any, Any, Found]) -> Found:
        """Return what ``work`` comes to. Raises what it raises, and ``UnavailableError`` when the time is over.

        A database that does not answer does not let go either, so what is cancelled ends without us.
        """
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        task = asyncio.create_task(work)
        try:
            await asyncio.wait((task,), timeout=self._seconds_left)
        finally:
            self._seconds_left = max(0.0, self._seconds_left - (loop.time() - began_at))
            if not task.done():
                _leave(task)
        if not task.done():
            raise UnavailableError(f"the database did not answer within {PATIENCE_SECONDS:g} s")
        return task.result()


async def let_go() -> None:
    """Wait for what was given up, for a moment: who closes the pool after that leaves no connection open."""
    loop = asyncio.get_running_loop()
    if tasks := [each for each in _left_behind if each.get_loop() is loop]:
        await asyncio.wait(tasks, timeout=LEAVE_SECONDS_MAX)


def _leave(task: asyncio.Task[Any]) -> None:
    _left_behind.add(task)
    task.add_done_callback(_forget)
    task.cancel()


def _forget(task: asyncio.Task[Any]) -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()  # seen, so that asyncio does not log it: the request has been answered
