"""An observer that remembers, and wakes the tests that wait for what operators watch."""

import asyncio
from collections.abc import Callable, Mapping

from service.core.deliveries.settlement import Settled
from service.core.reason import ParkReason
from service.ports.observer import Backlog

SIGNAL_SECONDS_MAX = 60


class RecordingObserver:
    """Keeps every call; ``until`` waits for a condition on what was kept."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str]] = []
        self.parked: list[tuple[ParkReason, str, str | None]] = []
        self.redelivered_count = 0
        self.recorded: list[tuple[int, int]] = []
        self.settled: list[tuple[Settled, bool]] = []
        self.settled_batches: list[int] = []
        self.rescued: list[int] = []
        self.backlogs: list[Backlog] = []
        self.loads: list[tuple[int, int, Mapping[str, int]]] = []
        self.troubles: list[tuple[str, BaseException, Mapping[str, object]]] = []
        self._has_changed = asyncio.Event()

    async def until(self, condition: Callable[["RecordingObserver"], object]) -> None:
        """Wait until ``condition`` holds of this observer."""
        async with asyncio.timeout(SIGNAL_SECONDS_MAX):
            while not condition(self):
                self._has_changed.clear()
                await self._has_changed.wait()

    async def until_settled(self, count: int) -> None:
        """Wait until at least ``count`` attempts have been settled."""
        await self.until(lambda seen: len(seen.settled) >= count)

    def event_received(self, source: str, outcome: str) -> None:
        self.received.append((source, outcome))
        self._has_changed.set()

    def message_parked(self, reason: ParkReason, detail: str, message_id: str | None) -> None:
        self.parked.append((reason, detail, message_id))
        self._has_changed.set()

    def message_redelivered(self) -> None:
        self.redelivered_count += 1
        self._has_changed.set()

    def batch_recorded(self, event_count: int, delivery_count: int, seconds: float) -> None:
        assert seconds >= 0
        self.recorded.append((event_count, delivery_count))
        self._has_changed.set()

    def attempt_settled(self, settled: Settled, *, moved: bool) -> None:
        self.settled.append((settled, moved))
        self._has_changed.set()

    def batch_settled(self, count: int, seconds: float) -> None:
        assert seconds >= 0
        self.settled_batches.append(count)
        self._has_changed.set()

    def leases_rescued(self, count: int) -> None:
        self.rescued.append(count)
        self._has_changed.set()

    def backlog_measured(self, backlog: Backlog) -> None:
        self.backlogs.append(backlog)
        self._has_changed.set()

    def load_changed(self, in_flight: int, held: int, lane_states: Mapping[str, int]) -> None:
        self.loads.append((in_flight, held, lane_states))
        self._has_changed.set()

    def trouble(self, where: str, error: BaseException, **context: object) -> None:
        self.troubles.append((where, error, context))
        self._has_changed.set()
