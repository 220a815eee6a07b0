"""The DeliveryStore in memory: every promise of the port, and faults on demand."""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

from msgspec.structs import replace

from service.core.deliveries.attempt import Attempt
from service.core.deliveries.delivery import OPEN_STATES, STEPS, Delivery, DeliveryKey, Lease, State, Step
from service.core.deliveries.effect import Effect, EndSubscription, ShutGate
from service.core.deliveries.fair_share import fair_shares
from service.core.deliveries.settlement import Settled
from service.core.events.event import Event
from service.core.reason import Reason
from service.ports.errors import RefusedError
from service.ports.store import Backlog, Claimed, Disposition, Recorded, Recording, Stale
from tests.fakes.database import DeliveryRow, EventRow, MemoryDatabase

BEFORE_COMMIT = "before commit"
AFTER_COMMIT = "after commit"


class MemoryDeliveryStore:
    """One worker's view of the database.

    ``fail`` plans faults: one before COMMIT changes nothing, one after it leaves everything done and the caller in
    doubt. ``refuses_event`` and ``refuses_settled`` name rows the database would never take.
    """

    def __init__(self, database: MemoryDatabase, *, worker_name: str = "worker-1", lease_seconds: float = 60.0) -> None:
        self.database = database
        self.worker_name = worker_name
        self.lease_seconds = lease_seconds
        self.refuses_event: Callable[[Event], bool] = lambda _: False
        self.refuses_settled: Callable[[Settled], bool] = lambda _: False
        self.calls: list[tuple[str, int]] = []
        self._faults: defaultdict[str, deque[tuple[str, BaseException]]] = defaultdict(deque)

    def fail(self, verb: str, *errors: BaseException, when: str = BEFORE_COMMIT) -> None:
        """The next calls of ``verb`` raise these."""
        self._faults[verb] += [(when, error) for error in errors]

    def _begin(self, verb: str, count: int) -> None:
        self.calls.append((verb, count))
        if self._faults[verb] and self._faults[verb][0][0] == BEFORE_COMMIT:
            raise self._faults[verb].popleft()[1]

    def _committed(self, verb: str) -> None:
        if self._faults[verb] and self._faults[verb][0][0] == AFTER_COMMIT:
            raise self._faults[verb].popleft()[1]

    # ------------------------------------------------------------------ record

    async def record(self, batch: Sequence[Recording]) -> Recorded | Stale:
        self._begin("record", len(batch))
        for recording in batch:
            if self.refuses_event(recording.event):
                raise RefusedError(f"no column holds {recording.event.id}")
        versions = self.database.versions
        stale = {
            recording.event.organization_id
            for recording in batch
            if versions.get(recording.event.organization_id) != recording.directory_version
        }
        if stale:
            return Stale(frozenset(stale))
        leased: set[DeliveryKey] = set()
        dispositions = tuple(self._record_one(recording, leased) for recording in batch)
        self._committed("record")
        return Recorded(dispositions, frozenset(leased))

    def _record_one(self, recording: Recording, leased: set[DeliveryKey]) -> Disposition:
        database = self.database
        event = recording.event
        known = database.events.get((event.organization_id, event.id))
        if known is not None:
            return Disposition.DUPLICATE if known.event.body == event.body else Disposition.CONFLICT
        database.events[event.organization_id, event.id] = EventRow(recording.uid, event)
        for new in recording.deliveries:
            row = DeliveryRow(new.delivery, State.PENDING, database.clock.now(), database.now)
            database.deliveries[new.delivery.key] = row
            if new.wants_lease and not database.is_gated(new.endpoint.id):
                self._lease(row)
                leased.add(new.delivery.key)
        return Disposition.RECORDED

    def _lease(self, row: DeliveryRow) -> None:
        row.state = State.LEASED
        row.claims_made += 1
        row.leased_by = self.worker_name
        row.lease_expires_at = self.database.now + self.lease_seconds

    # ------------------------------------------------------------------ claim, release, rescue

    async def claim_due(self, limit: int, *, per_endpoint_limit: int, room: Mapping[str, int]) -> Sequence[Claimed]:
        self._begin("claim_due", limit)
        database = self.database
        due: defaultdict[str, list[DeliveryRow]] = defaultdict(list)
        for row in database.rows_in(State.PENDING):
            endpoint_id = row.delivery.endpoint_id
            has_room = room.get(endpoint_id, 1) > 0
            if row.next_attempt_at <= database.now and has_room and not database.is_gated(endpoint_id):
                due[endpoint_id].append(row)
        turns = sorted(due, key=lambda each: database.served_at.get(each, -1))[: max(0, limit)]
        shares = fair_shares(turns, limit, per_endpoint_limit=per_endpoint_limit, room=room)
        claims: list[Claimed] = []
        for endpoint_id, share in shares.items():
            database.claims_count += 1
            database.served_at[endpoint_id] = database.claims_count
            for row in due[endpoint_id][:share]:
                self._lease(row)
                claims.append(self._claim(row))
        self._committed("claim_due")
        return claims

    def _claim(self, row: DeliveryRow) -> Claimed:
        return Claimed(row.delivery, row.claims_made, self.database.versions[row.delivery.organization_id])

    async def release(self, leases: Sequence[Lease]) -> None:
        self._begin("release", len(leases))
        for lease in leases:
            row = self.database.deliveries[lease.delivery.key]
            if row.state is State.LEASED and row.claims_made == lease.claim_number:
                self._move(row, Step.RELEASE)
                row.next_attempt_at = self.database.now
        self._committed("release")

    async def rescue(self, limit: int) -> Sequence[Claimed]:
        self._begin("rescue", limit)
        leased = sorted(self.database.rows_in(State.LEASED), key=lambda row: row.lease_expires_at or 0.0)
        expired = [row for row in leased if self._has_expired(row)][:limit]
        for row in expired:
            self._lease(row)
        claims = [self._claim(row) for row in expired]
        self._committed("rescue")
        return claims

    def _has_expired(self, row: DeliveryRow) -> bool:
        return row.lease_expires_at is not None and row.lease_expires_at < self.database.now

    # ------------------------------------------------------------------ settle

    async def settle(self, batch: Sequence[Settled]) -> Sequence[bool]:
        self._begin("settle", len(batch))
        for settled in batch:
            if self.refuses_settled(settled):
                raise RefusedError(f"no column holds {settled.delivery.key}")
        moved = [self._settle_one(settled) for settled in batch]
        self._committed("settle")
        return moved

    def _settle_one(self, settled: Settled) -> bool:
        row = self.database.deliveries.get(settled.delivery.key)
        if row is None:
            return False
        has_moved = self._may_move(row, settled)
        if settled.attempt is not None:
            self._append(row, settled.attempt, has_moved=has_moved)
        if has_moved:
            self._apply(row, settled)
        for effect in settled.effects:
            self._obey(effect)
        return has_moved

    def _may_move(self, row: DeliveryRow, settled: Settled) -> bool:
        if settled.settlement.step is Step.ACCEPT:
            return row.state in OPEN_STATES  # a 2xx is a fact
        return row.state is State.LEASED and row.claims_made == settled.claim_number

    def _append(self, row: DeliveryRow, attempt: Attempt, *, has_moved: bool) -> None:
        """Inserted whether or not the guard matched: what happened, happened."""
        row.attempts.append(replace(attempt, number=len(row.attempts) + 1))
        delivery = replace(row.delivery, attempts_recorded=len(row.attempts))
        if has_moved:
            delivery = self._counted(delivery, attempt)
        row.delivery = delivery

    def _counted(self, delivery: Delivery, attempt: Attempt) -> Delivery:
        return replace(
            delivery,
            attempts_made=delivery.attempts_made + attempt.is_counted,
            lost_in_a_row=delivery.lost_in_a_row + 1 if attempt.reason is Reason.LOST else 0,
        )

    def _apply(self, row: DeliveryRow, settled: Settled) -> None:
        settlement = settled.settlement
        self._move(row, settlement.step)
        row.reason = settlement.reason
        if settlement.delay_seconds is not None:
            row.next_attempt_at = self.database.now + settlement.delay_seconds

    def _obey(self, effect: Effect) -> None:
        """Whatever becomes of the delivery: it may have moved on."""
        database = self.database
        match effect:
            case ShutGate():
                gate = (effect.endpoint_id, effect.kind.value)
                until = database.now + effect.seconds
                database.gates[gate] = max(until, database.gates.get(gate, until))
            case EndSubscription():
                subscription = database.subscriptions[effect.subscription_id]
                endpoint = database.endpoints[subscription.endpoint_id]
                if subscription.removed_because is None and effect.leading_to in {None, endpoint.url}:
                    subscription.removed_because = "gone"
                    database.directory_changed(endpoint.organization_id)
                    database.cancel_pending(subscription.id, Reason.GONE)
            case _:
                assert_never(effect)

    def _move(self, row: DeliveryRow, step: Step) -> None:
        row.state = STEPS[row.state][step]  # a KeyError here is a step that does not exist
        row.leased_by = row.lease_expires_at = None

    # ------------------------------------------------------------------ backlog

    async def backlog(self) -> Backlog:
        self._begin("backlog", 0)
        database = self.database
        due_ages: list[float] = []
        gated_ages: list[float] = []
        for row in database.rows_in(State.PENDING):
            if row.next_attempt_at <= database.now:
                ages = gated_ages if database.is_gated(row.delivery.endpoint_id) else due_ages
                ages.append(database.now - row.next_attempt_at)
        gates: dict[str, int] = {}
        for (_, kind), until in database.gates.items():
            if until > database.now:
                gates[kind] = gates.get(kind, 0) + 1
        return Backlog(len(due_ages), max(due_ages, default=0.0), len(gated_ages), max(gated_ages, default=0.0), gates)
