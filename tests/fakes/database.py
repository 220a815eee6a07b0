"""What PostgreSQL holds, as plain values, with a clock of its own."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any
from uuid import UUID

from service.core.deliveries.allowance import Allowance
from service.core.deliveries.attempt import Attempt
from service.core.deliveries.delivery import OPEN_STATES, Delivery, DeliveryKey, State
from service.core.deliveries.line import Again, Head, Next, whose_turn
from service.core.endpoints.directory import DirectoryPage, Place
from service.core.endpoints.endpoint import StoredEndpoint, StoredSecret
from service.core.endpoints.filter.filter import decode_envelope
from service.core.endpoints.gates.breaker import Breaker, BreakerState
from service.core.endpoints.gates.failing import Stage
from service.core.endpoints.gates.gate import OPENED_BY_PEOPLE, STORED, GateKind
from service.core.endpoints.order import ORDER_WAIT_SECONDS, line_of
from service.core.endpoints.subscription import covers
from service.core.endpoints.view import RemovalReason
from service.core.events.event import Event
from service.core.events.own_types.own_type import OwnEventType
from service.core.reason import Reason
from service.core.replays.job import ReplayJob, ReplayWish
from tests.fakes.clock import ManualClock
from tests.fakes.events import CountedUids


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
class FanOutRow:
    """An event whose deliveries are still being made."""

    event: EventRow
    frontier: int
    done_through: str = ""


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
    begun_claim: int | None = None
    reason: Reason | None = None
    ended_at: float | None = None
    replay_job_id: str | None = None
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(slots=True)
class ReplayPartRow:
    """One endpoint's part of a replay job."""

    endpoint_id: str
    window: int
    is_counted: bool = False
    through: tuple[UUID, int] | None = None
    is_done: bool = False


@dataclass(slots=True)
class ReplayJobRow:
    """A replay job. ``job`` carries the counts as they stand now."""

    job: ReplayJob
    wish: ReplayWish
    parts: list[ReplayPartRow]
    made_at: float
    measured_at: float
    tokens: float = 0.0
    last_part: str = ""


@dataclass(slots=True)
class HeadRow:
    """The delivery of a line that has begun and has not ended; ``failed_at`` is when it failed first."""

    key: DeliveryKey
    failed_at: float | None = None


@dataclass(slots=True)
class LimitRow:
    """A limited endpoint: what its rate permitted at ``measured_at``, and since when it has limits."""

    rate_limit_per_second: float | None
    max_in_flight: int | None
    requests: float
    measured_at: float
    limited_at: float
    breaker_in_flight: int | None = None


class MemoryDatabase:
    """The tables. Times in them are this clock's monotonic seconds: leases and due times are the database's own."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.versions: dict[str, int] = {}
        self.endpoints: dict[str, EndpointRow] = {}
        self.subscriptions: dict[int, SubscriptionRow] = {}
        self.event_types: dict[str, dict[str, OwnEventType]] = {}
        self.events: dict[tuple[str, str], EventRow] = {}
        self.stamps: dict[str, tuple[StoredEndpoint | None, int]] = {}
        self.fan_outs: dict[UUID, FanOutRow] = {}
        self.deliveries: dict[DeliveryKey, DeliveryRow] = {}
        self.gates: dict[tuple[str, str], float] = {}
        self.breakers: dict[str, Breaker] = {}
        self.failing: dict[str, tuple[datetime, Stage, int]] = {}  # since when, and how many attempts, at its stage
        self.limits: dict[str, LimitRow] = {}
        self.places: dict[tuple[str, DeliveryKey, int], float] = {}
        self.lines: dict[DeliveryKey, tuple[UUID, datetime]] = {}  # where open deliveries stand, and their place there
        self.heads: dict[UUID, HeadRow] = {}
        self.order_waits: dict[str, float | None] = {}
        self.served_at: dict[str, int] = {}
        self.claims_count = 0
        self.new_uid = CountedUids(start=1 << 32)  # never one of the test's own
        self.replay_jobs: dict[str, ReplayJobRow] = {}

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def is_gated(self, endpoint_id: str) -> bool:
        """Whether any gate of the endpoint is shut: nothing is born leased."""
        return any(self.gates.get((endpoint_id, kind), -inf) > self.now for kind in STORED)

    def is_shut_to_claims(self, endpoint_id: str) -> bool:
        """The same for claims, which may pass a breaker that is half open or in its ramp."""
        breaker = self.breakers.get(endpoint_id)
        is_trying = breaker is not None and (
            breaker.state is not BreakerState.OPEN or breaker.is_half_open(self.clock.now())
        )
        kinds = STORED - {GateKind.BREAKER} if is_trying else STORED
        return any(self.gates.get((endpoint_id, kind), -inf) > self.now for kind in kinds)

    def set_breaker(self, endpoint_id: str, breaker: Breaker | None) -> None:
        """Remember it, with its gate and its bound."""
        self.breakers.pop(endpoint_id, None)
        if breaker is not None:
            self.breakers[endpoint_id] = breaker
        is_shut = breaker is not None and breaker.state is not BreakerState.CLOSED
        bound = breaker.in_flight_max if breaker is not None else None
        if is_shut:
            self.gates[endpoint_id, GateKind.BREAKER] = inf
            row = self.limits.setdefault(endpoint_id, LimitRow(None, None, 1.0, self.now, self.now))
            row.breaker_in_flight = bound
        elif self.gates.pop((endpoint_id, GateKind.BREAKER), None) is not None:
            row = self.limits[endpoint_id]
            row.breaker_in_flight = None
            self.set_limits(endpoint_id, row.rate_limit_per_second, row.max_in_flight)

    def set_limits(self, endpoint_id: str, rate_limit_per_second: float | None, max_in_flight: int | None) -> None:
        """What the endpoint asks for; neither leaves it unlimited."""
        known = self.limits.pop(endpoint_id, None)
        is_bound = known is not None and known.breaker_in_flight is not None
        if rate_limit_per_second is not None or max_in_flight is not None or is_bound:
            row = known or LimitRow(None, None, 1.0, self.now, self.now)
            row.rate_limit_per_second, row.max_in_flight = rate_limit_per_second, max_in_flight
            self.limits[endpoint_id] = row

    def is_limited(self, endpoint_id: str) -> bool:
        """Whether only a claim leases the endpoint's deliveries."""
        has_order = self.endpoints[endpoint_id].settings.get("order_by") is not None
        return endpoint_id in self.limits or has_order or any(self._stands(each, endpoint_id) for each in self.lines)

    def _stands(self, key: DeliveryKey, endpoint_id: str) -> bool:
        return self.deliveries[key].delivery.endpoint_id == endpoint_id

    def may_go(self, row: DeliveryRow) -> bool:
        """Whether nobody of its line keeps this pending delivery from being sent. A head that gives way leaves now."""
        key = row.delivery.key
        if key not in self.lines:
            return True
        line, _ = self.lines[key]
        head = self.heads.get(line)
        turn = whose_turn(self._standing(head), self.order_waits.get(row.delivery.endpoint_id) or ORDER_WAIT_SECONDS)
        if isinstance(turn, Next) and head is not None:
            del self.heads[line]
            if turn.gives_way:
                del self.lines[head.key]
        if isinstance(turn, Next):
            return self._first(line) == key
        return isinstance(turn, Again) and head is not None and head.key == key

    def _standing(self, head: HeadRow | None) -> Head | None:
        if head is None:
            return None
        row = self.deliveries[head.key]
        failed_seconds = None if head.failed_at is None else self.now - head.failed_at
        is_due = row.state is State.PENDING and row.next_attempt_at <= self.now
        return Head(row.state in OPEN_STATES, row.state is State.LEASED, is_due, failed_seconds)

    def _first(self, line: UUID) -> DeliveryKey:
        waiting = [(place, key.event_uid, key) for key, (each, place) in self.lines.items() if each == line]
        return min(waiting, key=lambda each: each[:2])[2]

    def replay(self, key: DeliveryKey) -> DeliveryKey:
        """A new delivery of the same event. It stands in line as if the event had happened now."""
        old = self.deliveries[key].delivery
        numbers = [
            each.replay_number
            for each in self.deliveries
            if (each.event_uid, each.subscription_id) == (key.event_uid, key.subscription_id)
        ]
        made = DeliveryKey(key.event_uid, key.subscription_id, max(numbers) + 1)
        delivery = Delivery(
            made, old.organization_id, old.event_id, old.event_type, old.body, old.endpoint_id, self.clock.now()
        )
        self.deliveries[made] = DeliveryRow(delivery, State.PENDING, self.clock.now(), self.now)
        self.line_up_replay(delivery)
        return made

    def line_up_replay(self, delivery: Delivery) -> None:
        """Give a new replay its place, as if its event had happened now."""
        order_by = self.endpoints[delivery.endpoint_id].settings.get("order_by")
        if order_by is not None:
            line = line_of(delivery.endpoint_id, order_by, decode_envelope(delivery.body))
            if line is not None:
                self.lines[delivery.key] = (line, self.clock.now())

    def leave_line(self, key: DeliveryKey) -> None:
        """The delivery has ended."""
        line, _ = self.lines.pop(key, (None, None))
        if line is not None and line in self.heads and self.heads[line].key == key:
            del self.heads[line]

    def allowance(self, endpoint_id: str, lease_seconds: float) -> Allowance | None:
        """What a limited endpoint may be sent now; None for any other."""
        row = self.limits.get(endpoint_id)
        if row is None:
            return None
        taken = {(each, claim) for (owner, each, claim), until in self.places.items()
                 if owner == endpoint_id and until > self.now}  # fmt: skip
        if row.limited_at > self.now - 2 * lease_seconds:  # granted before it had limits
            taken |= {
                (key, each.claims_made)
                for key, each in self.deliveries.items()
                if each.state is State.LEASED and each.delivery.endpoint_id == endpoint_id
            }
        bounds = [each for each in (row.max_in_flight, row.breaker_in_flight) if each is not None]
        allowance = Allowance(row.rate_limit_per_second, min(bounds, default=None), row.requests, len(taken))
        return allowance.grown(self.now - row.measured_at)

    def directory_changed(self, organization_id: str) -> None:
        """Every change of endpoints, subscriptions, secrets and pauses comes with this."""
        self.versions[organization_id] += 1

    def rows_in(self, state: State) -> Iterator[DeliveryRow]:
        """Deliveries in one state, oldest due first."""
        found = [row for row in self.deliveries.values() if row.state is state]
        return iter(sorted(found, key=lambda row: row.next_attempt_at))

    def active_subscriptions(self) -> defaultdict[str, list[SubscriptionRow]]:
        """The active subscriptions of each endpoint."""
        found: defaultdict[str, list[SubscriptionRow]] = defaultdict(list)
        for each in self.subscriptions.values():
            if each.removed_because is None:
                found[each.endpoint_id].append(each)
        return found

    def page(self, organization_id: str, after: Place, endpoints_max: int) -> DirectoryPage:
        """What comes after a place in the organization's directory."""
        version = self.versions[organization_id]
        self._stamp(organization_id)
        mine = [each for each, row in self.endpoints.items() if row.organization_id == organization_id]
        changed = sorted((self.stamps[each][1], each) for each in mine)
        rows = [each for each in changed if each > (after.version, after.endpoint_id)][:endpoints_max]
        is_last = len(rows) < endpoints_max
        until = Place(version + 1, "", version + 1) if is_last else Place(*rows[-1], version + 1)
        found = {endpoint_id: self.stamps[endpoint_id][0] for _, endpoint_id in rows}
        return DirectoryPage(
            organization_id,
            version,
            after,
            until,
            is_last,
            tuple(stored for stored in found.values() if stored is not None),
            tuple(endpoint_id for endpoint_id, stored in found.items() if stored is None),
            dict(self.event_types.get(organization_id, {})),
        )

    def _stamp(self, organization_id: str) -> None:
        """What a trigger does: note the version with which each endpoint changed."""
        active = self.active_subscriptions()
        for row in self.endpoints.values():
            if row.organization_id == organization_id:
                stored = None if row.is_removed else self._stored(row, active[row.id])
                if row.id not in self.stamps or self.stamps[row.id][0] != stored:
                    self.stamps[row.id] = (stored, self.versions[organization_id])

    def changed_at(self, endpoint_id: str) -> int:
        """The directory's version with which the endpoint changed last."""
        self._stamp(self.endpoints[endpoint_id].organization_id)
        return self.stamps[endpoint_id][1]

    def stored(self, endpoint_id: str) -> StoredEndpoint:
        """An endpoint with its active subscriptions."""
        return self._stored(self.endpoints[endpoint_id], self.active_subscriptions()[endpoint_id])

    def _stored(self, row: EndpointRow, active: Iterable[SubscriptionRow]) -> StoredEndpoint:
        subscriptions = tuple((each.id, each.event_type) for each in active)
        return StoredEndpoint(row.id, row.url, row.is_paused, row.secrets, subscriptions, **row.settings)

    def announce(self, event: Event) -> None:
        """Record the event and defer its fan-out, if somebody asks for it and it is new."""
        asking = [
            each.id
            for owner, subscriptions in self.active_subscriptions().items()
            for each in subscriptions
            if self.endpoints[owner].organization_id == event.organization_id and covers(each.event_type, event.type)
        ]
        if asking and (event.organization_id, event.id) not in self.events:
            row = self.events[event.organization_id, event.id] = EventRow(self.new_uid(), event)
            self.fan_outs[row.uid] = FanOutRow(row, max(asking))

    def end_endpoint(self, endpoint_id: str, because: RemovalReason) -> None:
        """End it, with its subscriptions and what waits for them."""
        endpoint = self.endpoints[endpoint_id]
        endpoint.is_removed = True
        self.set_limits(endpoint_id, None, None)
        self.set_breaker(endpoint_id, None)
        for kind in OPENED_BY_PEOPLE:
            self.gates.pop((endpoint_id, kind), None)
        for subscription in self.active_subscriptions()[endpoint_id]:
            subscription.removed_because = because
            self.cancel_pending(subscription.id, because.cancels)
        self.directory_changed(endpoint.organization_id)

    def has_expired(self, endpoint_id: str) -> bool:
        """Whether its ``valid_until`` has come."""
        valid_until = self.endpoints[endpoint_id].settings.get("valid_until")
        return valid_until is not None and valid_until <= self.clock.now()

    def cancel_pending(self, subscription_id: int, reason: Reason) -> None:
        """Nobody waits for these any more."""
        for row in self.deliveries.values():
            if row.delivery.key.subscription_id == subscription_id and row.state is State.PENDING:
                row.state, row.reason, row.ended_at = State.CANCELLED, reason, self.now
                self.leave_line(row.delivery.key)
