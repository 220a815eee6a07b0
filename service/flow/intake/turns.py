"""A thread for work on what tenants write, which takes long: whoever has some takes turns for it with the others."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

Found = TypeVar("Found")


class Turns:
    """One thread, which takes at most half of the process's time.

    However much one party wants of it, another waits for one piece of work of each party before it. What waits is
    bounded by who waits: whoever stops waiting is passed over.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="turns")
        self._waiting: dict[Hashable, deque[tuple[asyncio.Future[Any], Callable[[], Any]]]] = {}  # whose turn is first
        self._is_busy = False

    async def run(self, party: Hashable, work: Callable[[], Found]) -> Found:
        """Return what ``work`` comes to, in the thread, once it is this party's turn. Raises what it raises."""
        found: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(party, deque()).append((found, work))
        self._begin()
        return await found

    def _begin(self) -> None:
        while self._waiting and not self._is_busy:
            party = next(iter(self._waiting))
            theirs = self._waiting.pop(party)
            found, work = theirs.popleft()
            if theirs:
                self._waiting[party] = theirs  # the last from now on
            if not found.done():  # else nobody waits for it any more
                self._is_busy = True
                asyncio.get_running_loop().run_in_executor(self._thread, work).add_done_callback(
                    partial(self._end, found)
                )

    def _end(self, found: asyncio.Future[Any], done: asyncio.Future[Any]) -> None:
        self._is_busy = False
        self._begin()
        if done.cancelled():
            found.cancel()
        elif found.done():
            done.exception()  # seen, so that asyncio does not log it
        elif (error := done.exception()) is not None:
            found.set_exception(error)
        else:
            found.set_result(done.result())
