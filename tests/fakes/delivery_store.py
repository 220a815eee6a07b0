"""The DeliveryStore in memory: every promise of the port, and faults on demand."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import assert_never

from msgspec.structs import replace

from service.core.deliveries.allowance import grant_of
from service.core.deliveries.attempt import Attempt
from service.core.deliveries.delivery import OPEN_STATES, STEPS, Delivery, DeliveryKey, Lease, State, Step
from service.core.deliveries.effect import (
    AdvanceLine,
    Announce,
    BringForward,
    CountFailure,
    Effect,
    EndSubscription,
    FreePlace,
    ShutGate,
)
from service.core.deliveries.fairness.fair_share import Turn, fair_shares
from service.core.deliveries.settlement import Settled
from service.core.endpoints.gates.breaker import NEVER_OPENS, Breaker, BreakerLimits
from service.core.events.event import Event
from service.core.reason import Reason
from service.ports.errors import RefusedError
from service.ports.store import Backlog, Claimed, Disposition, Recorded, Recording, Shares
from tests.fakes.database import DeliveryRow, EventRow, FanOutRow, HeadRow, MemoryDatabase

BEFORE_COMMIT = "before commit"
AFTER_COMMIT = "after commit"


def alike(limit: int, per_endpoint_limit: int | None = None) -> Shares:
    """Shares for a worker that has room for every endpoint."""
    return partial(fair_shares, limit=limit, per_endpoint_limit=per_endpoint_limit or limit)


class MemoryDeliveryStore:
    """One worker's view of the database.

    ``fail`` plans faults: one before COMMIT changes nothing, one after it leaves everything done and the caller in
    doubt. ``refuses_event`` and ``refuses_settled`` name rows the database would never take.
    """

    def __init__(
        self,
        database: MemoryDatabase,
        *,
        worker_name: str = "worker-1",
        lease_seconds: float = 60.0,
        breaker: BreakerLimits = NEVER_OPENS,
    ) -> None:
        self.database = database
        self.worker_name = worker_name
        self.lease_seconds = lease_seconds
        self.breaker = breaker
        self.refuses_event: Callable[[Event], bool] = lambda _: False
        self.refuses_settled: Callable[[Settled], bool] = lambda _: False
        self.calls: list[tuple[str, int]] = []
        self._faults: defaultdict[str, deque[tuple[str, BaseException]]] = defaultdict(deque)
        self._hung: set[str] = set()

    def hang(self, verb: str) -> None:
        """From now on ``verb`` never returns."""
        self._hung.add(verb)

    def fail(self, verb: str, *errors: BaseException, when: str = BEFORE_COMMIT) -> None:
        """The next calls of ``verb`` raise these."""
        self._faults[verb] += [(when, error) for error in errors]

    def _begin(self, verb: str, count: int) -> None:
        self.calls.append((verb, count))
        if self._faults[verb] and self._faults[verb][0][0] == BEFORE_COMMIT:
            raise self._faults[verb].popleft()[1]

    async def _hangs(self, verb: str) -> None:
        if verb in self._hung:
            await asyncio.Event().wait()

    def _committed(self, verb: str) -> None:
        if self._faults[verb] and self._faults[verb][0][0] == AFTER_COMMIT:
            raise self._faults[verb].popleft()[1]

    async def now(self) -> datetime:
        self._begin("now", 0)
        return self.database.clock.now()

    # ------------------------------------------------------------------ record

    async def record(self, batch: Sequence[Recording]) -> Recorded:
        self._begin("record", len(batch))
        await self._hangs("record")
        for recording in batch:
            if self.refuses_event(recording.event):
                raise RefusedError(f"no column holds {recording.event.id}")
        versions = self.database.versions
        stale = {
            recording.event.organization_id
            for recording in batch
            if recording.directory_version is not None
            and versions.get(recording.event.organization_id) != recording.directory_version
        }
        leased: set[DeliveryKey] = set()
        dispositions = tuple(
            None if recording.event.organization_id in stale else self._record_one(recording, leased)
            for recording in batch
        )
        self._committed("record")
        return Recorded(dispositions, frozenset(leased), frozenset(stale))

    def _record_one(self, recording: Recording, leased: set[DeliveryKey]) -> Disposition:
        database = self.database
        event = recording.event
        known = database.events.get((event.organization_id, event.id))
        if known is not None:
            return Disposition.DUPLICATE if known.event.body == event.body else Disposition.CONFLICT
        row = database.events[event.organization_id, event.id] = EventRow(recording.uid, event)
        if recording.is_deferred:
            database.fan_outs[recording.uid] = FanOutRow(row, max(database.subscriptions, default=0))
        for new in recording.deliveries:
            delivery_row = DeliveryRow(new.delivery, State.PENDING, database.clock.now(), database.now)
            database.deliveries[new.delivery.key] = delivery_row
            if new.line is not None:
                database.lines[new.delivery.key] = (new.line, event.occurred_at)
            if new.wants_lease and not database.is_gated(new.endpoint.id):
                self._lease(delivery_row)
                leased.add(new.delivery.key)
        return Disposition.RECORDED

    def _lease(self, row: DeliveryRow) -> None:
        row.state = State.LEASED
        row.claims_made += 1
        row.leased_by = self.worker_name
        row.lease_expires_at = self.database.now + self.lease_seconds
        line, _ = self.database.lines.get(row.delivery.key, (None, None))
        if line is not None:
            self.database.heads.setdefault(line, HeadRow(row.delivery.key))

    # ------------------------------------------------------------------ claim, begin, rescue

    async def claim_due(self, shares: Shares) -> Sequence[Claimed]:
        self._begin("claim_due", 0)
        await self._hangs("claim_due")
        database = self.database
        due: defaultdict[str, list[DeliveryRow]] = defaultdict(list)
        for row in database.rows_in(State.PENDING):
            endpoint_id = row.delivery.endpoint_id
            if row.next_attempt_at <= database.now and not self._is_shut(endpoint_id):
                due[endpoint_id].append(row)
        turns = [
            Turn(each, rows[0].delivery.organization_id, database.endpoints[each].url, database.is_limited(each))
            for each, rows in sorted(due.items(), key=lambda item: database.served_at.get(item[0], -1))
        ]
        claims: list[Claimed] = []
        for endpoint_id, share in shares(turns).items() if turns else ():
            database.claims_count += 1
            database.served_at[endpoint_id] = database.claims_count
            claims += self._claim_share(endpoint_id, due[endpoint_id], max(0, share))
        self._committed("claim_due")
        return claims

    async def claim_again(self, shares: Mapping[str, int]) -> Sequence[Claimed]:
        self._begin("claim_again", len(shares))
        claims: list[Claimed] = []
        for endpoint_id, share in shares.items():
            if not self.database.is_shut_to_claims(endpoint_id) and self.database.is_limited(endpoint_id):
                claims += self._claim_share(endpoint_id, self._due_of(endpoint_id), max(0, share))
        self._committed("claim_again")
        return claims

    def _due_of(self, endpoint_id: str) -> list[DeliveryRow]:
        now = self.database.now
        rows = self.database.rows_in(State.PENDING)
        return [row for row in rows if row.delivery.endpoint_id == endpoint_id and row.next_attempt_at <= now]

    def _claim_share(self, endpoint_id: str, due: Sequence[DeliveryRow], share: int) -> list[Claimed]:
        """Lease at most a share of what is due, and of that only what the endpoint's limits allow."""
        allowance = self.database.allowance(endpoint_id, self.lease_seconds)
        due = [row for row in due if self.database.may_go(row)]
        if allowance is None:
            for row in due[:share]:
                self._lease(row)
            return [self._claim(row) for row in due[:share]]
        allowed = allowance.most(share)
        claimed = due[:allowed]
        left = allowance.taken(len(claimed))
        if claimed:
            limit = self.database.limits[endpoint_id]
            limit.requests, limit.measured_at = left.requests, self.database.now
        for row in claimed:
            self._lease(row)
            place = (endpoint_id, row.delivery.key, row.claims_made)
            self.database.places[place] = self.database.now + self.lease_seconds
        grant = grant_of(left, allowed, len(claimed))
        return [replace(self._claim(row), grant=grant) for row in claimed]

    def _claim(self, row: DeliveryRow) -> Claimed:
        line, _ = self.database.lines.get(row.delivery.key, (None, None))
        version = self.database.versions[row.delivery.organization_id]
        return Claimed(row.delivery, row.claims_made, version, line=line)

    def _free(self, endpoint_id: str, key: DeliveryKey, claim_number: int, *, is_unused: bool) -> None:
        known = self.database.places.pop((endpoint_id, key, claim_number), None)
        if known is not None and is_unused and endpoint_id in self.database.limits:
            self.database.limits[endpoint_id].requests += 1

    async def begin(self, leases: Sequence[Lease]) -> Sequence[bool]:
        self._begin("begin", len(leases))
        begun = [self._begin_one(lease) for lease in leases]
        self._committed("begin")
        return begun

    def _begin_one(self, lease: Lease) -> bool:
        row = self.database.deliveries[lease.delivery.key]
        if not self._is_wanted(lease):
            return False
        row.begun_claim = row.claims_made
        return True

    async def still_wanted(self, leases: Sequence[Lease]) -> Sequence[bool]:
        self._begin("still_wanted", len(leases))
        return [self._is_wanted(lease) for lease in leases]

    def _is_wanted(self, lease: Lease) -> bool:
        database, delivery = self.database, lease.delivery
        row = database.deliveries[delivery.key]
        if row.state is not State.LEASED or row.claims_made != lease.claim_number or self._has_expired(row):
            return False
        changed_at = database.changed_at(delivery.endpoint_id)
        is_as_it_was = min(database.versions[delivery.organization_id], changed_at) <= lease.directory_version
        return is_as_it_was and not database.is_shut_to_claims(delivery.endpoint_id)

    async def rescue(self, limit: int) -> Sequence[Claimed]:
        self._begin("rescue", limit)
        leased = sorted(self.database.rows_in(State.LEASED), key=lambda row: row.lease_expires_at or 0.0)
        expired = [row for row in leased if self._has_expired(row)][:limit]
        claims = [self._rescue_one(row) for row in expired]
        self._committed("rescue")
        return claims

    def _rescue_one(self, row: DeliveryRow) -> Claimed:
        has_begun = row.begun_claim == row.claims_made
        self._lease(row)
        if has_begun:
            row.begun_claim = row.claims_made
        return replace(self._claim(row), has_begun=has_begun)

    def _is_shut(self, endpoint_id: str) -> bool:
        return self.database.is_shut_to_claims(endpoint_id) or bool(self._limits_reached(endpoint_id))

    def _limits_reached(self, endpoint_id: str) -> Sequence[str]:
        allowance = self.database.allowance(endpoint_id, self.lease_seconds)
        if allowance is None:
            return ()
        kinds = {
            "rate_limit": allowance.opens_in_seconds > 0,
            "max_in_flight": allowance.in_flight_max is not None and allowance.in_flight >= allowance.in_flight_max,
        }
        return [kind for kind, is_reached in kinds.items() if is_reached]

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

    def _succeed(self, endpoint_id: str) -> None:
        known = self.database.breakers.get(endpoint_id)
        if known is not None:
            self.database.set_breaker(endpoint_id, known.succeeded(self.database.clock.now()))

    def _fail(self, effect: CountFailure) -> None:
        database = self.database
        if not database.endpoints[effect.endpoint_id].is_removed:
            known = database.breakers.get(effect.endpoint_id) or Breaker()
            after = known.failed(database.clock.now(), self.breaker, is_outage=effect.is_outage)
            database.set_breaker(effect.endpoint_id, after)

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
            self._obey(effect, has_moved)
        if has_moved and settled.settlement.step is Step.ACCEPT:
            self._succeed(settled.delivery.endpoint_id)
        return has_moved

    def _may_move(self, row: DeliveryRow, settled: Settled) -> bool:
        if settled.settlement.step is Step.ACCEPT:
            return row.state in OPEN_STATES  # a 2xx is a fact
        return row.state is State.LEASED and row.claims_made == settled.claim_number

    def _append(self, row: DeliveryRow, attempt: Attempt, *, has_moved: bool) -> None:
        """Inserted whether or not the guard matched: what happened, happened."""
        is_counted = attempt.is_counted and has_moved
        row.attempts.append(replace(attempt, number=len(row.attempts) + 1, is_counted=is_counted))
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
        if settlement.step is not Step.RELEASE:
            row.reason = settlement.reason
        if settlement.delay_seconds is not None:
            row.next_attempt_at = self.database.now + settlement.delay_seconds

    def _obey(self, effect: Effect, has_moved: bool) -> None:  # noqa: FBT001
        """Whatever becomes of the delivery: it may have moved on. Only an announcement depends on it."""
        database = self.database
        match effect:
            case ShutGate():
                gate = (effect.endpoint_id, effect.kind.value)
                until = database.now + effect.seconds
                database.gates[gate] = max(until, database.gates.get(gate, until))
            case CountFailure():
                self._fail(effect)
            case EndSubscription():
                subscription = database.subscriptions[effect.subscription_id]
                endpoint = database.endpoints[subscription.endpoint_id]
                if subscription.removed_because is None and effect.leading_to in {None, endpoint.url}:
                    subscription.removed_because = "gone"
                    database.directory_changed(endpoint.organization_id)
                    database.cancel_pending(subscription.id, Reason.GONE)
                    if effect.announced is not None:
                        database.announce(effect.announced)
            case BringForward():
                later = [
                    row
                    for row in database.rows_in(State.PENDING)
                    if row.delivery.endpoint_id == effect.endpoint_id
                    and row.next_attempt_at > database.now
                    and row.delivery.attempts_made
                ]
                for row in sorted(later, key=lambda row: -row.next_attempt_at)[: effect.count]:
                    row.next_attempt_at = database.now
            case FreePlace():
                self._free(effect.endpoint_id, effect.key, effect.claim_number, is_unused=effect.is_unused)
            case Announce():
                if has_moved:
                    database.announce(effect.event)
            case AdvanceLine():
                self._advance(effect)
            case _:
                assert_never(effect)

    def _advance(self, effect: AdvanceLine) -> None:
        database, head = self.database, self.database.heads.get(effect.line)
        state = database.deliveries[effect.key].state
        if state not in OPEN_STATES:
            database.leave_line(effect.key)
        elif head is not None and head.key == effect.key and state is State.PENDING and head.failed_at is None:
            head.failed_at = database.now

    def _move(self, row: DeliveryRow, step: Step) -> None:
        row.state = STEPS[row.state][step]  # a KeyError here is a step that does not exist
        row.leased_by = row.lease_expires_at = None
        row.ended_at = None if row.state in OPEN_STATES else self.database.now

    # ------------------------------------------------------------------ backlog

    async def backlog(self) -> Backlog:
        self._begin("backlog", 0)
        database = self.database
        due_ages: list[float] = []
        gated_ages: list[float] = []
        for row in database.rows_in(State.PENDING):
            if row.next_attempt_at <= database.now:
                endpoint_id = row.delivery.endpoint_id
                limit = database.limits.get(endpoint_id)
                is_served = limit is not None and limit.measured_at > database.now - 5
                is_gated = database.is_gated(endpoint_id) or self._is_shut(endpoint_id)
                ages = gated_ages if is_served or is_gated else due_ages
                ages.append(database.now - row.next_attempt_at)
        gates: dict[str, int] = {}
        for (_, kind), until in database.gates.items():
            if until > database.now:
                gates[kind] = gates.get(kind, 0) + 1
        for endpoint_id in database.limits:
            for kind in self._limits_reached(endpoint_id):
                if kind == "max_in_flight" and database.limits[endpoint_id].max_in_flight is None:
                    continue  # it is its breaker's bound, which has a gate
                gates[kind] = gates.get(kind, 0) + 1
        return Backlog(
            len(due_ages),
            max(due_ages, default=0.0),
            len(gated_ages),
            max(gated_ages, default=0.0),
            gates,
            len(database.fan_outs),
        )
