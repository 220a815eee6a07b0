"""Keys that are not right, limited for each address before the database is asked about them.

A key that was right lately always passes: whoever guesses from the same address, or through the same proxy, locks
nobody out. So addresses need not be exact, and headers that name another address are not read.
"""

import asyncio
import hmac
import math
import time
from collections.abc import Callable
from typing import Final

from service.api.entrance.strangers import Allowance, Strangers
from service.api.errors import ApiError, Code
from service.ports.requests import KeyRing

GUESSES_PER_SECOND: Final = 10.0
"""Of one address; a program with a wrong key seldom asks more often."""
GUESSES_BURST: Final = 100
ALL_GUESSES_PER_SECOND: Final = 100.0
"""Of all addresses together: a look-up takes the database some 0.1 ms."""
ALL_GUESSES_BURST: Final = 1_000
ADDRESSES_MAX: Final = 10_000
RIGHT_MAX: Final = 10_000
LOOK_AGAIN_SECONDS: Final = 10.0
"""How often the database is asked which keys were right lately. A process that has just started knows none."""


class Guesses:
    """Counts guesses in memory, and remembers the digests of keys that were right."""

    def __init__(self, keys: KeyRing, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        self._strangers = Strangers(
            lambda: Allowance(GUESSES_PER_SECOND, GUESSES_BURST),
            Allowance(ALL_GUESSES_PER_SECOND, ALL_GUESSES_BURST),
            addresses_max=ADDRESSES_MAX,
        )
        self._right: dict[str, bytes] = {}  # digests by key id, the longest unused first
        self._look: asyncio.Task[None] | None = None  # under way, for all who need it
        self._look_again_at = 0.0

    async def admit(self, remote: str | None, key_id: str, digest: bytes) -> None:
        """Let the key be looked up. Raises ``ApiError`` (429) after too many guesses."""
        if self._was_right_lately(key_id, digest):
            return
        wait_seconds = self._strangers.wait_seconds(remote, self._clock())
        if wait_seconds > 0 and not await self._is_right_after_all(key_id, digest):
            seconds = math.ceil(wait_seconds)
            sentence = f"too many API keys that are not valid came from here; try again in {seconds} seconds"
            raise ApiError(429, Code.RATE_LIMIT_EXCEEDED, sentence, headers={"Retry-After": str(seconds)})

    def was_right(self, key_id: str, digest: bytes) -> None:
        """The key is valid."""
        self._right.pop(key_id, None)  # so that it becomes the last
        if len(self._right) >= RIGHT_MAX:
            self._right.pop(next(iter(self._right)))
        self._right[key_id] = digest

    def was_wrong(self, remote: str | None, key_id: str, digest: bytes) -> None:
        """It was looked up in vain: it does not exist, or is valid no longer. Guesses made at once go into debt."""
        if self._was_right_lately(key_id, digest):
            del self._right[key_id]
        self._strangers.take(remote, self._clock())

    def _was_right_lately(self, key_id: str, digest: bytes) -> bool:
        return hmac.compare_digest(self._right.get(key_id, b""), digest)

    async def _is_right_after_all(self, key_id: str, digest: bytes) -> bool:
        if self._look is None and self._clock() >= self._look_again_at:
            self._look = asyncio.create_task(self._look_at_recent())
            self._look.add_done_callback(self._end_look)
        if self._look is not None:
            await asyncio.shield(self._look)  # whoever leaves does not take it from the others
        return self._was_right_lately(key_id, digest)

    async def _look_at_recent(self) -> None:
        found = await self._keys.recent(RIGHT_MAX)
        self._look_again_at = self._clock() + LOOK_AGAIN_SECONDS  # if it failed, the next one looks again
        for key_id, digest in reversed([*found.items()]):  # the last used comes first there, and last here
            self.was_right(key_id, digest)

    def _end_look(self, look: asyncio.Task[None]) -> None:
        self._look = None
        if not look.cancelled():
            look.exception()  # seen, so that asyncio does not log it if everybody has left
