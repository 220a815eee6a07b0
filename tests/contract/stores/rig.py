"""What the conformance suite needs of a database besides the ports: to make time pass, and to look."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries.fan_outs import PostgresFanOutStore
from service.adapters.postgres.deliveries.replays import Replays
from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.endpoints.expiry import PostgresExpiryStore
from service.adapters.postgres.endpoints.gates.breakers import breaker_of
from service.adapters.postgres.endpoints.gates.failing import PostgresFailingStore
from service.adapters.postgres.engine import driver
from service.adapters.postgres.partitions import PARTITIONED, create_partition, today_of
from service.adapters.postgres.replays.jobs import ReplayJobs
from service.adapters.postgres.replays.steps import PostgresReplayStore
from service.adapters.postgres.retention import PostgresRetentionStore
from service.adapters.postgres.stats.counting import PostgresCountStore
from service.core.deliveries.attempt import Attempt
from service.core.deliveries.delivery import Delivery, DeliveryKey, Lease, NewDelivery, State, fan_out
from service.core.deliveries.settlement import Settled
from service.core.deliveries.view import DeliveryView
from service.core.endpoints.gates.breaker import NEVER_OPENS, Breaker, BreakerLimits
from service.core.endpoints.order import lines_of
from service.core.events.event import Event
from service.core.reason import Reason
from service.flow.directory.directory import Directory
from service.ports.counts import CountStore
from service.ports.desk import ReplayJobDesk
from service.ports.expiry import ExpiryStore
from service.ports.failing import FailingStore
from service.ports.retention import RetentionStore
from service.ports.store import (
    Asking,
    Claimed,
    DeliveryStore,
    FanOutStore,
    Recorded,
    Recording,
    ReplayStore,
    SubscriptionStore,
)
from tests.fakes.actor import SOMEBODY
from tests.fakes.administration import Administration
from tests.fakes.clock import START
from tests.fakes.count_store import MemoryCountStore
from tests.fakes.database import MemoryDatabase
from tests.fakes.delivery_store import MemoryDeliveryStore, alike
from tests.fakes.events import event_of, new_uid
from tests.fakes.expiry_store import MemoryExpiryStore
from tests.fakes.failing_store import MemoryFailingStore
from tests.fakes.fan_out_store import MemoryFanOutStore
from tests.fakes.replay_store import MemoryReplayStore
from tests.fakes.retention_store import MemoryRetentionStore
from tests.fakes.secret_box import PlainSecretBox
from tests.fakes.subscription_store import MemoryAdministration, MemorySubscriptionStore


@dataclass(frozen=True, slots=True)
class Shown:
    """A delivery as it stands in the database."""

    state: State
    reason: Reason | None
    claims_made: int
    attempts_made: int


@dataclass(frozen=True, slots=True)
class ShownAttempt:
    """An attempt as it stands in the database."""

    number: int
    claim_number: int
    outcome: str
    reason: str | None
    status: int | None
    is_counted: bool


class Endpoints(Protocol):
    """The part of an administration that both kinds of database have."""

    async def create_organization(self, organization_id: str) -> None: ...

    async def add_endpoint(self, organization_id: str, url: str, event_types: Sequence[str]) -> Any: ...

    async def remove_endpoint(self, organization_id: str, endpoint_id: str) -> bool: ...

    async def pause_endpoint(self, organization_id: str, endpoint_id: str, paused: bool) -> bool: ...  # noqa: FBT001

    async def limit_endpoint(
        self, endpoint_id: str, *, per_second: float | None = None, in_flight: int | None = None
    ) -> None: ...

    async def order_endpoint(
        self, endpoint_id: str, order_by: str | None, *, wait_seconds: float | None = None
    ) -> None: ...

    async def register_event_type(self, organization_id: str, name: str, schema: str) -> None: ...


class Database(Protocol):
    """One of the two databases under test."""

    administration: Endpoints
    subscriptions: SubscriptionStore
    fan_outs: FanOutStore
    counts: CountStore
    failing: FailingStore
    expiry: ExpiryStore
    replays: ReplayStore
    replay_jobs: ReplayJobDesk

    def store(
        self, worker_name: str = "worker-1", lease_seconds: float = 60.0, breaker: BreakerLimits = NEVER_OPENS
    ) -> DeliveryStore: ...

    async def set_endpoint(self, endpoint_id: str, **settings: Any) -> None: ...

    async def pass_time(self, seconds: float) -> None: ...

    async def hurry(self) -> None: ...

    async def replay(self, key: DeliveryKey) -> DeliveryKey: ...

    async def show(self, key: DeliveryKey) -> Shown | None: ...

    async def attempts(self, key: DeliveryKey) -> Sequence[ShownAttempt]: ...

    async def body(self, event: Event) -> bytes: ...

    def retention(self, retention_days: int) -> RetentionStore: ...

    async def today(self) -> datetime: ...

    async def make_day(self, day: datetime) -> None: ...

    async def made_at(self, key: DeliveryKey, at: datetime) -> None: ...

    async def breaker(self, endpoint_id: str) -> Breaker | None: ...


class InMemory:
    def __init__(self) -> None:
        self._database = MemoryDatabase()
        self.administration = MemoryAdministration(self._database, PlainSecretBox())
        self.subscriptions: SubscriptionStore = MemorySubscriptionStore(self._database)
        self.fan_outs: FanOutStore = MemoryFanOutStore(self._database)
        self.counts: CountStore = MemoryCountStore(self._database, lag_seconds=0.0)
        self.failing: FailingStore = MemoryFailingStore(self._database)
        self.expiry: ExpiryStore = MemoryExpiryStore(self._database)
        self.replays = self.replay_jobs = MemoryReplayStore(self._database)

    def store(
        self, worker_name: str = "worker-1", lease_seconds: float = 60.0, breaker: BreakerLimits = NEVER_OPENS
    ) -> DeliveryStore:
        return MemoryDeliveryStore(
            self._database, worker_name=worker_name, lease_seconds=lease_seconds, breaker=breaker
        )

    async def set_endpoint(self, endpoint_id: str, **settings: Any) -> None:
        await self.administration.set_endpoint(endpoint_id, **settings)

    async def pass_time(self, seconds: float) -> None:
        self._database.clock.advance(seconds)

    async def hurry(self) -> None:
        for row in self._database.rows_in(State.PENDING):
            row.next_attempt_at = min(row.next_attempt_at, self._database.now)

    async def replay(self, key: DeliveryKey) -> DeliveryKey:
        return self._database.replay(key)

    async def show(self, key: DeliveryKey) -> Shown | None:
        row = self._database.deliveries.get(key)
        return Shown(row.state, row.reason, row.claims_made, row.delivery.attempts_made) if row is not None else None

    async def attempts(self, key: DeliveryKey) -> Sequence[ShownAttempt]:
        return [_shown(attempt) for attempt in self._database.deliveries[key].attempts]

    async def body(self, event: Event) -> bytes:
        return self._database.events[event.organization_id, event.id].event.body

    def retention(self, retention_days: int) -> RetentionStore:
        return MemoryRetentionStore(self._database, retention_days=retention_days)

    async def today(self) -> datetime:
        return self._database.clock.now().replace(hour=0)

    async def make_day(self, day: datetime) -> None:
        """Days need no making here."""

    async def made_at(self, key: DeliveryKey, at: datetime) -> None:
        self._database.deliveries[key].created_at = at

    async def breaker(self, endpoint_id: str) -> Breaker | None:
        return self._database.breakers.get(endpoint_id)


class InPostgres:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.administration: Endpoints = Administration(engine, PlainSecretBox())
        self.subscriptions: SubscriptionStore = PostgresSubscriptionStore(engine)
        self.fan_outs: FanOutStore = PostgresFanOutStore(engine)
        self.counts: CountStore = PostgresCountStore(engine, lag_seconds=0.0)
        self.failing: FailingStore = PostgresFailingStore(engine)
        self.expiry: ExpiryStore = PostgresExpiryStore(engine)
        self.replays: ReplayStore = PostgresReplayStore(engine)
        self.replay_jobs: ReplayJobDesk = ReplayJobs(engine)

    def store(
        self, worker_name: str = "worker-1", lease_seconds: float = 60.0, breaker: BreakerLimits = NEVER_OPENS
    ) -> DeliveryStore:
        return PostgresDeliveryStore(
            self._engine, worker_name=worker_name, lease_seconds=lease_seconds, breaker=breaker
        )

    async def set_endpoint(self, endpoint_id: str, **settings: Any) -> None:
        """``settings`` are fields of ``StoredEndpoint``."""
        async with driver(self._engine) as connection:
            for column, value in settings.items():
                written = json.dumps(value) if column in {"filter", "retry"} else value
                await connection.execute(f"UPDATE endpoints SET {column} = $1 WHERE id = $2", written, endpoint_id)  # noqa: S608 - a column's name

    async def hurry(self) -> None:
        async with driver(self._engine) as connection:
            await connection.execute("UPDATE open_deliveries SET next_attempt_at = least(next_attempt_at, now())")

    async def pass_time(self, seconds: float) -> None:
        """The clock is PostgreSQL's: rather than wait, move what is to come nearer."""
        passed = timedelta(seconds=seconds)
        async with driver(self._engine) as connection:
            await connection.execute(
                """UPDATE open_deliveries
                      SET next_attempt_at = next_attempt_at - $1::interval, lease_expires_at = lease_expires_at - $1::interval""",
                passed,
            )
            await connection.execute(
                "UPDATE breakers SET failing_since = failing_since - $1::interval, changes_at = changes_at - $1::interval",
                passed,
            )
            await connection.execute(
                "UPDATE failing_endpoints SET failing_since = failing_since - $1::interval", passed
            )
            await connection.execute("UPDATE gates SET probe_at = probe_at - $1::interval", passed)
            await connection.execute("UPDATE gates SET until = until - $1::interval WHERE until < 'infinity'", passed)
            await connection.execute(
                """UPDATE endpoint_limits SET measured_at = measured_at - $1::interval,
                          opens_at = opens_at - $1::interval, limited_at = limited_at - $1::interval""",
                passed,
            )
            await connection.execute("UPDATE endpoint_places SET expires_at = expires_at - $1::interval", passed)
            await connection.execute("UPDATE replay_jobs SET measured_at = measured_at - $1::interval", passed)
            await connection.execute(
                "UPDATE endpoints SET valid_until = valid_until - $1::interval WHERE valid_until IS NOT NULL", passed
            )
            await connection.execute("UPDATE line_heads SET failed_at = failed_at - $1::interval", passed)

    async def replay(self, key: DeliveryKey) -> DeliveryKey:
        made = await Replays(self._engine).replay("org_1", key, by=SOMEBODY)
        assert isinstance(made, DeliveryView), made
        found = DeliveryKey.parse(made.id)
        assert found is not None
        return found

    async def show(self, key: DeliveryKey) -> Shown | None:
        rows = await self._of("SELECT state, reason, claims_made, attempts_made FROM deliveries", key)
        assert len(rows) <= 1, "a delivery is either open or final"
        if not rows:
            return None
        row = rows[0]
        reason = Reason(row["reason"]) if row["reason"] else None
        return Shown(State(row["state"]), reason, row["claims_made"], row["attempts_made"])

    async def attempts(self, key: DeliveryKey) -> Sequence[ShownAttempt]:
        rows = await self._of("SELECT * FROM attempts", key)
        shown = [
            ShownAttempt(
                row["number"], row["claim_number"], row["outcome"], row["reason"], row["status"], row["is_counted"]
            )
            for row in rows
        ]
        return sorted(shown, key=lambda each: each.number)

    async def body(self, event: Event) -> bytes:
        async with driver(self._engine) as connection:
            found: bytes = await connection.fetchval(
                "SELECT body FROM events WHERE organization_id = $1 AND event_id = $2", event.organization_id, event.id
            )
            return found

    def retention(self, retention_days: int) -> RetentionStore:
        return PostgresRetentionStore(self._engine, retention_days=retention_days, audit_retention_days=365)

    async def today(self) -> datetime:
        async with driver(self._engine) as connection:
            return await today_of(connection)

    async def make_day(self, day: datetime) -> None:
        """Make the partitions of a day long ago, as retention did when it was ahead."""
        async with driver(self._engine) as connection:
            for table in PARTITIONED:
                await create_partition(connection, table, day)

    async def made_at(self, key: DeliveryKey, at: datetime) -> None:
        async with driver(self._engine) as connection:
            await connection.execute(
                """UPDATE open_deliveries SET created_at = $4
                    WHERE event_uid = $1 AND subscription_id = $2 AND replay_number = $3""",
                *(key.event_uid, key.subscription_id, key.replay_number, at),
            )

    async def breaker(self, endpoint_id: str) -> Breaker | None:
        async with driver(self._engine) as connection:
            row = await connection.fetchrow("SELECT * FROM breakers WHERE endpoint_id = $1", endpoint_id)
            return breaker_of(row) if row is not None else None

    async def set_counters(self, key: DeliveryKey, **counters: int) -> None:
        """Make an open delivery look back on more than it has been through."""
        async with driver(self._engine) as connection:
            await connection.execute(
                """UPDATE open_deliveries SET attempts_made = $4, attempts_recorded = $5, lost_in_a_row = $6
                    WHERE event_uid = $1 AND subscription_id = $2 AND replay_number = $3""",
                *(key.event_uid, key.subscription_id, key.replay_number),
                *(counters["attempts_made"], counters["attempts_recorded"], counters["lost_in_a_row"]),
            )

    async def _of(self, select: str, key: DeliveryKey) -> Sequence[Any]:
        async with driver(self._engine) as connection:
            found: Sequence[Any] = await connection.fetch(
                f"{select} WHERE event_uid = $1 AND subscription_id = $2 AND replay_number = $3",
                key.event_uid,
                key.subscription_id,
                key.replay_number,
            )
            return found


def _shown(attempt: Attempt) -> ShownAttempt:
    return ShownAttempt(
        attempt.number,
        attempt.claim_number,
        attempt.outcome.value,
        attempt.reason.value if attempt.reason else None,
        attempt.status,
        attempt.is_counted,
    )


class Bench:
    """A database with the organization ``org_1``, and shorthands for what a worker does."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.administration = database.administration
        self.store = database.store()
        self._events_count = 0

    async def endpoint(self, name: str = "a", event_types: Collection[str] = ("message.sent",)) -> str:
        """Register ``https://<name>.example/``; its id."""
        made = await self.administration.add_endpoint("org_1", f"https://{name}.example/", tuple(event_types))
        endpoint_id: str = made.id
        return endpoint_id

    async def recording(self, *, wants_lease: bool = False, **changes: Any) -> Recording:
        """An event of ``org_1`` with its deliveries, as intake would hand it over."""
        if "id" not in changes:
            self._events_count += 1
            changes["id"] = f"evt_{self._events_count}"
        event = event_of(**changes)
        uid = new_uid()
        copies = Directory(self.database.subscriptions, PlainSecretBox())
        directory = (await copies.of([event.organization_id]))[event.organization_id]
        matching = await copies.matching(directory, event.type, event.body, await self.store.now())
        assert matching is not None
        deliveries = fan_out(uid, event.id, event.type, event.body, START, matching)
        lines = lines_of(matching, event.body)
        return Recording(
            uid,
            event,
            directory.version,
            tuple(
                NewDelivery(delivery, subscription.endpoint, wants_lease, line)
                for delivery, subscription, line in zip(deliveries, matching, lines, strict=True)
            ),
        )

    async def record(self, *recordings: Recording, by: DeliveryStore | None = None) -> Recorded:
        recorded = await (by or self.store).record(recordings)
        assert not recorded.stale
        return recorded

    async def pending(self, count: int = 1, **changes: Any) -> list[DeliveryKey]:
        """Record ``count`` events; the keys of their deliveries."""
        recordings = [await self.recording(**changes) for _ in range(count)]
        await self.record(*recordings)
        return [new.delivery.key for recording in recordings for new in recording.deliveries]

    async def claim(
        self,
        limit: int = 100,
        *,
        per_endpoint_limit: int = 100,
        by: DeliveryStore | None = None,
    ) -> Sequence[Claimed]:
        return await (by or self.store).claim_due(alike(limit, per_endpoint_limit))

    async def claim_again(self, endpoint_ids: Sequence[str]) -> Sequence[Claimed]:
        """Look at these limited endpoints again."""
        return await self.store.claim_again(dict.fromkeys(endpoint_ids, 10))

    async def claim_one(self, by: DeliveryStore | None = None) -> Claimed:
        claims = await self.claim(by=by)
        assert len(claims) == 1, claims
        return claims[0]

    async def settle(self, *batch: Settled, by: DeliveryStore | None = None) -> list[bool]:
        return list(await (by or self.store).settle(batch))

    async def hurry(self) -> None:
        """All that waits for a retry is due."""
        await self.database.hurry()

    async def show(self, key: DeliveryKey) -> Shown:
        shown = await self.database.show(key)
        assert shown is not None
        return shown

    async def attempts(self, key: DeliveryKey) -> Sequence[ShownAttempt]:
        return await self.database.attempts(key)


async def everyone(_: bytes, asking: Sequence[Asking]) -> Sequence[Asking]:
    """A choice that no filter makes."""
    return asking


def lease_of(recording: Recording, index: int = 0) -> Lease:
    """The lease of a delivery that was born leased."""
    new = recording.deliveries[index]
    return Lease(new.delivery, new.endpoint, 1, 0.0, directory_version=recording.directory_version or 0)


def claimed(lease: Lease) -> Claimed:
    """A birth lease as if it had been claimed."""
    return Claimed(lease.delivery, lease.claim_number, 0)


def is_same(delivery: Delivery, other: Delivery) -> bool:
    """The same but for when it was made, which is the database's to say."""
    names = ("key", "organization_id", "event_id", "event_type", "body", "endpoint_id")
    return all(getattr(delivery, name) == getattr(other, name) for name in names)
