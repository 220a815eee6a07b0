"""Who is told what happened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from service.core.deliveries.settlement import Settled
from service.core.reason import ParkReason


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits. Gated deliveries wait for their endpoint, not for us, and are told apart."""

    due_count: int = 0
    oldest_due_age_seconds: float = 0.0
    gated_count: int = 0
    oldest_gated_age_seconds: float = 0.0
    gates: Mapping[str, int] = field(default_factory=dict)


class Observer(Protocol):
    """Is told what happened. Metrics, logs, and the tests' signals all listen to the same calls."""

    def event_received(self, source: str, outcome: str) -> None:
        """One event was taken in; ``outcome`` is a Verdict or "parked"."""

    def message_parked(self, reason: ParkReason, detail: str, message_id: str | None) -> None:
        """A broker message was set aside."""

    def message_redelivered(self) -> None:
        """The broker sent a message again."""

    def batch_recorded(self, event_count: int, delivery_count: int, seconds: float) -> None:
        """An intake batch was committed."""

    def attempt_settled(self, settled: Settled, *, moved: bool) -> None:
        """An attempt's outcome is committed; ``moved`` is False when the delivery had moved on without us."""

    def batch_settled(self, count: int, seconds: float) -> None:
        """A settle batch was committed."""

    def leases_rescued(self, count: int) -> None:
        """Expired leases were taken over."""

    def backlog_measured(self, backlog: Backlog) -> None:
        """What waits was counted."""

    def load_changed(self, in_flight: int, held: int, lane_states: Mapping[str, int]) -> None:
        """How busy this worker is: attempts in flight, leases held, lanes by state."""

    def trouble(self, where: str, error: BaseException, **context: object) -> None:
        """Something of ours failed and will be tried again."""
