"""An observer that remembers, and wakes the tests that wait for what operators watch."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.settlement import Settled
from service.core.reason import ParkReason
from service.ports.observer import (
    AttemptSettled,
    BacklogMeasured,
    BatchRecorded,
    BatchSettled,
    EventTaken,
    Happening,
    LeasesRescued,
    MessageParked,
    MessageRedelivered,
    Trouble,
)
from service.ports.store import Backlog

SIGNAL_SECONDS_MAX = 60

Kind = TypeVar("Kind")


class RecordingObserver:
    """Keeps all it is told; ``until`` waits for a condition on what was kept."""

    def __init__(self) -> None:
        self.told: list[Happening] = []
        self._has_changed = asyncio.Event()

    def tell(self, happening: Happening, /) -> None:
        self.told.append(happening)
        self._has_changed.set()

    async def until(self, condition: Callable[["RecordingObserver"], object]) -> None:
        """Wait until ``condition`` holds of this observer."""
        async with asyncio.timeout(SIGNAL_SECONDS_MAX):
            while not condition(self):
                self._has_changed.clear()
                await self._has_changed.wait()

    async def until_settled(self, count: int) -> None:
        """Wait until at least ``count`` attempts have been settled."""
        await self.until(lambda seen: len(seen.settled) >= count)

    def of(self, kind: type[Kind]) -> list[Kind]:
        """All happenings of one kind, in order."""
        return [each for each in self.told if isinstance(each, kind)]

    # ------------------------------------------------------------------ the kinds that tests ask for most

    @property
    def received(self) -> Sequence[tuple[str, str]]:
        taken = [each for each in self.told if isinstance(each, EventTaken | MessageParked)]
        return [(each.source, each.disposition.value if isinstance(each, EventTaken) else "parked") for each in taken]

    @property
    def parked(self) -> Sequence[tuple[ParkReason, str, str | None]]:
        return [(each.reason, each.detail, each.message_id) for each in self.of(MessageParked)]

    @property
    def redelivered_count(self) -> int:
        return len(self.of(MessageRedelivered))

    @property
    def recorded(self) -> Sequence[tuple[int, int]]:
        return [(each.event_count, each.delivery_count) for each in self.of(BatchRecorded)]

    @property
    def started(self) -> Sequence[AttemptStarted]:
        return self.of(AttemptStarted)

    @property
    def settled(self) -> Sequence[tuple[Settled, bool]]:
        return [(each.settled, each.has_moved) for each in self.of(AttemptSettled)]

    @property
    def settled_batches(self) -> Sequence[int]:
        return [each.count for each in self.of(BatchSettled)]

    @property
    def rescued(self) -> Sequence[int]:
        return [each.count for each in self.of(LeasesRescued)]

    @property
    def backlogs(self) -> Sequence[Backlog]:
        return [each.backlog for each in self.of(BacklogMeasured)]

    @property
    def troubles(self) -> Sequence[tuple[str, BaseException, Mapping[str, object]]]:
        return [(each.where, each.error, each.context) for each in self.of(Trouble)]
