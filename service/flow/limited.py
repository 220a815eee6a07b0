"""When to claim again for limited endpoints: as soon as one has a place free, a rate lets through, or a head has ended.

The claim loop looks at all endpoints a few times a second, which would be the pace of an endpoint with one place. So
whoever claimed for a limited endpoint looks at it again by itself. If another worker was faster, it is the other's turn
to look again; if that one dies, the claim loop of any worker finds what is due.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from service.core.deliveries.effect import AdvanceLine, Effect, FreePlace
from service.flow.surroundings import Surroundings

LOOK_SECONDS_MIN: Final = 0.02
"""The least time between two looks for the sake of a rate. A fast rate has several requests by then."""


class Limited:
    """The limited endpoints to look at again. They are forgotten once looked at: memory is bounded by the leases."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._now: set[str] = set()
        self._later: dict[str, float] = {}
        self._has_news = asyncio.Event()
        self._is_stopping = False

    def look_at(self, endpoint_id: str, in_seconds: float = 0.0) -> None:
        """Look at this endpoint soon: now, or in so many seconds."""
        if in_seconds:
            seconds = max(in_seconds, LOOK_SECONDS_MIN)
            self._later[endpoint_id] = self._around.clock.monotonic() + seconds
        else:
            self._now.add(endpoint_id)
        self._has_news.set()

    def heed(self, effects: Sequence[Effect]) -> None:
        """Look at the endpoints that have a place free now, or a new head: these effects are committed."""
        for effect in effects:
            if isinstance(effect, FreePlace | AdvanceLine):
                self.look_at(effect.endpoint_id)

    def stop(self) -> None:
        """Nobody need wait any more."""
        self._is_stopping = True
        self._has_news.set()

    async def due(self) -> Sequence[str]:
        """The endpoints to look at, as soon as there are any; none after ``stop``."""
        while not self._is_stopping:
            found = self._take()
            if found:
                return found
            self._has_news.clear()
            if self._later:
                left_seconds = min(self._later.values()) - self._around.clock.monotonic()
                with suppress(TimeoutError):
                    await self._around.within("waiting for a rate", left_seconds, self._has_news.wait())
            else:
                await self._has_news.wait()
        return ()

    def _take(self) -> Sequence[str]:
        now = self._around.clock.monotonic()
        found = self._now.union(endpoint_id for endpoint_id, at in self._later.items() if at <= now)
        self._now.clear()
        self._later = {endpoint_id: at for endpoint_id, at in self._later.items() if at > now}
        return sorted(found)
