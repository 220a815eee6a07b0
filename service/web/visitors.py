"""Sessions by their tokens; tokens that are not right are limited for each address before the database is asked."""

import math
import time
from collections.abc import Callable
from typing import Final

from service.api.entrance.guesses import (
    ADDRESSES_MAX,
    ALL_GUESSES_BURST,
    ALL_GUESSES_PER_SECOND,
    GUESSES_BURST,
    GUESSES_PER_SECOND,
)
from service.api.entrance.strangers import Allowance, Strangers
from service.api.errors import ApiError, Code
from service.core.session import Guest, NewToken, Session
from service.ports.sessions import SessionDesk

FOUND_MAX: Final = 10_000


class Visitors:
    """Looks sessions up, and follows links. A session that was found lately is always looked up."""

    def __init__(self, desk: SessionDesk, clock: Callable[[], float] = time.monotonic) -> None:
        self._desk = desk
        self._clock = clock
        self._strangers = Strangers(
            lambda: Allowance(GUESSES_PER_SECOND, GUESSES_BURST),
            Allowance(ALL_GUESSES_PER_SECOND, ALL_GUESSES_BURST),
            addresses_max=ADDRESSES_MAX,
        )
        self._found: dict[bytes, None] = {}  # digests, the one that was found longest ago comes first

    async def find(self, digest: bytes, remote: str | None) -> Session | None:
        """The session, None if it has ended. Raises ``ApiError`` (429) after too many that were none."""
        if digest not in self._found:
            self._admit(remote)
        session = await self._desk.find(digest)
        self._found.pop(digest, None)  # so that it becomes the last
        if session is None:
            self._strangers.take(remote, self._clock())
            return None
        if len(self._found) >= FOUND_MAX:
            self._found.pop(next(iter(self._found)))
        self._found[digest] = None
        return session

    async def follow(self, link_digest: bytes, token: NewToken, remote: str | None) -> Guest | None:
        """Open a link's session, None if it opens none. Raises ``ApiError`` (429) as ``find`` does."""
        self._admit(remote)
        guest = await self._desk.follow(link_digest, token)
        if guest is None:
            self._strangers.take(remote, self._clock())
        return guest

    def _admit(self, remote: str | None) -> None:
        wait_seconds = self._strangers.wait_seconds(remote, self._clock())
        if wait_seconds > 0:
            seconds = math.ceil(wait_seconds)
            sentence = f"Too many links and sessions that are not valid came from here. Try again in {seconds} seconds."
            raise ApiError(429, Code.RATE_LIMIT_EXCEEDED, sentence, headers={"Retry-After": str(seconds)})
