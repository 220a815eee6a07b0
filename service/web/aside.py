"""The counts beside the entries of the navigation: what fails, what is being replayed, what is parked.

Every page shows them, so they are read at most once in a few seconds for an organization, and never hold a page up
for long: a count that cannot be read is not shown.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from service.api.errors import ApiError
from service.api.patience import Patience
from service.ports.errors import UnavailableError
from service.ports.oversight import BrokerDesk
from service.web.page import Visit
from service.web.words import number

KEPT_SECONDS: Final = 5.0
READ_SECONDS_MAX: Final = 1.0
PARKED_KEPT_SECONDS: Final = 15.0
PARKED_SECONDS_MAX: Final = 1.0
"""For the broker's answer; a page does not wait for a broker that is away."""
ORGANIZATIONS_MAX: Final = 1_000
RUNNING_MAX: Final = 20
"""Replays are counted up to this."""
FAILING_MAX: Final = 200
"""Failing endpoints are, unless the page has counted all of them."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What stands beside the entries; 0 shows nothing."""

    failing: int = 0
    running: int = 0
    parked: int = 0

    @property
    def failing_text(self) -> str:
        """How many endpoints fail, as far as they are counted."""
        return f"{number(self.failing)}{'+' if self.failing == FAILING_MAX else ''} failing"

    @property
    def running_text(self) -> str:
        """How many replays run, as far as they are counted."""
        return f"{self.running}{'+' if self.running >= RUNNING_MAX else ''} running"


class Aside:
    """Reads the counts, and keeps them for a moment. ``clock`` returns seconds that only grow."""

    def __init__(self, broker: BrokerDesk | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._clock = clock
        self._kept: dict[str, tuple[float, Counts]] = {}  # by organization; the one that was read longest ago is first
        self._parked: tuple[float, int] | None = None

    async def of(self, visit: Visit, failing_count: int | None = None) -> Counts:
        """The counts for a page of this visit; ``failing_count`` is what the page has just read itself."""
        found = await self._of_organization(visit, failing_count) if visit.organization_id else Counts()
        return replace(found, parked=await self.parked_count()) if visit.is_operator else found

    async def _of_organization(self, visit: Visit, failing_count: int | None) -> Counts:
        kept = self._kept.get(visit.organization_id)
        if kept is not None and self._clock() < kept[0] and failing_count in {None, kept[1].failing}:
            return kept[1]
        before = kept[1] if kept else Counts()
        self._keep(visit.organization_id, before)  # for whoever comes while they are read, and if they cannot be
        try:
            found = await Patience(READ_SECONDS_MAX).wait(_read(visit, failing_count))
        except (ApiError, UnavailableError):
            return before
        self._keep(visit.organization_id, found)
        return found

    def _keep(self, organization_id: str, counts: Counts) -> None:
        self._kept.pop(organization_id, None)  # so that it becomes the last
        if len(self._kept) >= ORGANIZATIONS_MAX:
            self._kept.pop(next(iter(self._kept)))
        self._kept[organization_id] = self._clock() + KEPT_SECONDS, counts

    async def parked_count(self) -> int:
        """How many messages are parked, as far as the broker says so in time."""
        if self._broker is None:
            return 0
        if self._parked is None or self._clock() >= self._parked[0]:
            try:
                async with asyncio.timeout(PARKED_SECONDS_MAX):
                    state = await self._broker.state()
            except TimeoutError:
                state = None
            count = state.parked.ready_count if state and state.parked else 0
            self._parked = self._clock() + PARKED_KEPT_SECONDS, count or 0
        return self._parked[1]


async def _read(visit: Visit, failing_count: int | None) -> Counts:
    if failing_count is None:
        failing = await visit.ask("list_endpoint_urls", query={"failing": "true", "limit": str(FAILING_MAX)})
        failing_count = len(failing["data"])
    replays = await visit.ask("list_replays", query={"state": "pending,running", "limit": str(RUNNING_MAX)})
    return Counts(failing_count, len(replays["data"]))
