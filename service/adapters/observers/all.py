"""Several observers as one: metrics, logs and whoever else listens are told the same things."""

from collections.abc import Mapping

from service.core.deliveries.settlement import Settled
from service.core.reason import ParkReason
from service.ports.observer import Backlog, Observer


class Observers:
    """Tells each observer in turn."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def event_received(self, source: str, outcome: str) -> None:
        """Tell that one event was taken in."""
        for each in self._observers:
            each.event_received(source, outcome)

    def message_parked(self, reason: ParkReason, detail: str, message_id: str | None) -> None:
        """Tell that a broker message was set aside."""
        for each in self._observers:
            each.message_parked(reason, detail, message_id)

    def message_redelivered(self) -> None:
        """Tell that the broker sent a message again."""
        for each in self._observers:
            each.message_redelivered()

    def batch_recorded(self, event_count: int, delivery_count: int, seconds: float) -> None:
        """Tell that an intake batch was committed."""
        for each in self._observers:
            each.batch_recorded(event_count, delivery_count, seconds)

    def attempt_settled(self, settled: Settled, *, moved: bool) -> None:
        """Tell that an attempt's outcome is committed."""
        for each in self._observers:
            each.attempt_settled(settled, moved=moved)

    def batch_settled(self, count: int, seconds: float) -> None:
        """Tell that a settle batch was committed."""
        for each in self._observers:
            each.batch_settled(count, seconds)

    def leases_rescued(self, count: int) -> None:
        """Tell that expired leases were taken over."""
        for each in self._observers:
            each.leases_rescued(count)

    def backlog_measured(self, backlog: Backlog) -> None:
        """Tell what waits."""
        for each in self._observers:
            each.backlog_measured(backlog)

    def load_changed(self, in_flight: int, held: int, lane_states: Mapping[str, int]) -> None:
        """Tell how busy this worker is."""
        for each in self._observers:
            each.load_changed(in_flight, held, lane_states)

    def trouble(self, where: str, error: BaseException, **context: object) -> None:
        """Tell that something of ours failed and will be tried again."""
        for each in self._observers:
            each.trouble(where, error, **context)
