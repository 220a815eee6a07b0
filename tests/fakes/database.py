"""What PostgreSQL holds, as plain values, with a clock of its own."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any
from uuid import UUID

from service.core.deliveries.attempt import Attempt
from service.core.deliveries.delivery import Delivery, DeliveryKey, State
from service.core.endpoints.directory import StoredDirectory
from service.core.endpoints.endpoint import StoredEndpoint, StoredSecret
from service.core.events.event import Event
from service.core.events.own_type import OwnEventType
from service.core.reason import Reason
from tests.fakes.clock import ManualClock


@dataclass(slots=True)
class EndpointRow:
    """An endpoint that an organization registered; ``settings`` are fields of its ``StoredEndpoint``."""

    id: str
    organization_id: str
    url: str
    secrets: tuple[StoredSecret, ...]
    is_paused: bool = False
    is_removed: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class SubscriptionRow:
    """Endpoint x event type."""

    id: int
    endpoint_id: str
    event_type: str
    removed_because: str | None = None


@dataclass(slots=True)
class EventRow:
    """An event, recorded once."""

    uid: UUID
    event: Event


@dataclass(slots=True)
class DeliveryRow:
    """A delivery, open or final. ``delivery`` carries the counters as they stand now."""

    delivery: Delivery
    state: State
    created_at: datetime
    next_attempt_at: float
    claims_made: int = 0
    leased_by: str | None = None
    lease_expires_at: float | None = None
    reason: Reason | None = None
    attempts: list[Attempt] = field(default_factory=list)


class MemoryDatabase:
    """The tables. Times in them are this clock's monotonic seconds: leases and due times are the database's own."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.versions: dict[str, int] = {}
        self.endpoints: dict[str, EndpointRow] = {}
        self.subscriptions: dict[int, SubscriptionRow] = {}
        self.event_types: dict[str, dict[str, OwnEventType]] = {}
        self.events: dict[tuple[str, str], EventRow] = {}
        self.deliveries: dict[DeliveryKey, DeliveryRow] = {}
        self.gates: dict[tuple[str, str], float] = {}
        self.served_at: dict[str, int] = {}
        self.claims_count = 0

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def is_gated(self, endpoint_id: str) -> bool:
        """Whether any gate of the endpoint is shut."""
        return any(self.gates.get((endpoint_id, kind), -inf) > self.now for kind in ("paused", "retry_after"))

    def directory_changed(self, organization_id: str) -> None:
        """Every change of endpoints, subscriptions, secrets and pauses comes with this."""
        self.versions[organization_id] += 1

    def rows_in(self, state: State) -> Iterator[DeliveryRow]:
        """Deliveries in one state, oldest due first."""
        found = [row for row in self.deliveries.values() if row.state is state]
        return iter(sorted(found, key=lambda row: row.next_attempt_at))

    def directory(self, organization_id: str) -> StoredDirectory:
        """An organization's endpoints with their active subscriptions."""
        endpoints = tuple(
            StoredEndpoint(
                row.id,
                row.url,
                row.is_paused,
                row.secrets,
                tuple(
                    (each.id, each.event_type)
                    for each in self.subscriptions.values()
                    if each.endpoint_id == row.id and each.removed_because is None
                ),
                **row.settings,
            )
            for row in self.endpoints.values()
            if row.organization_id == organization_id and not row.is_removed
        )
        event_types = dict(self.event_types.get(organization_id, {}))
        return StoredDirectory(organization_id, self.versions[organization_id], endpoints, event_types)

    def cancel_pending(self, subscription_id: int, reason: Reason) -> None:
        """Nobody waits for these any more."""
        for row in self.deliveries.values():
            if row.delivery.key.subscription_id == subscription_id and row.state is State.PENDING:
                row.state, row.reason = State.CANCELLED, reason
