"""What the conformance suite needs of a database besides the ports: to make time pass, and to look."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.engine import driver
from service.core.deliveries.attempt import Attempt
from service.core.deliveries.delivery import Delivery, DeliveryKey, Lease, NewDelivery, State, fan_out
from service.core.deliveries.settlement import Settled
from service.core.endpoints.endpoint import Endpoint
from service.core.events.event import Event
from service.core.reason import Reason
from service.flow.directory import Directory
from service.ports.store import Claimed, DeliveryStore, Recorded, Recording, Stale, SubscriptionStore
from tests.fakes.administration import Administration
from tests.fakes.clock import START
from tests.fakes.database import MemoryDatabase
from tests.fakes.delivery_store import MemoryDeliveryStore
from tests.fakes.events import event_of, new_uid
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


class Database(Protocol):
    """One of the two databases under test."""

    administration: Endpoints
    subscriptions: SubscriptionStore

    def store(self, worker_name: str = "worker-1", lease_seconds: float = 60.0) -> DeliveryStore: ...

    async def pass_time(self, seconds: float) -> None: ...

    async def show(self, key: DeliveryKey) -> Shown | None: ...

    async def attempts(self, key: DeliveryKey) -> Sequence[ShownAttempt]: ...

    async def body(self, event: Event) -> bytes: ...


class InMemory:
    def __init__(self) -> None:
        self._database = MemoryDatabase()
        self.administration: Endpoints = MemoryAdministration(self._database, PlainSecretBox())
        self.subscriptions: SubscriptionStore = MemorySubscriptionStore(self._database)

    def store(self, worker_name: str = "worker-1", lease_seconds: float = 60.0) -> DeliveryStore:
        return MemoryDeliveryStore(self._database, worker_name=worker_name, lease_seconds=lease_seconds)

    async def pass_time(self, seconds: float) -> None:
        self._database.clock.advance(seconds)

    async def show(self, key: DeliveryKey) -> Shown | None:
        row = self._database.deliveries.get(key)
        return Shown(row.state, row.reason, row.claims_made, row.delivery.attempts_made) if row is not None else None

    async def attempts(self, key: DeliveryKey) -> Sequence[ShownAttempt]:
        return [_shown(attempt) for attempt in self._database.deliveries[key].attempts]

    async def body(self, event: Event) -> bytes:
        return self._database.events[event.organization_id, event.id].event.body


class InPostgres:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.administration: Endpoints = Administration(engine, PlainSecretBox())
        self.subscriptions: SubscriptionStore = PostgresSubscriptionStore(engine)

    def store(self, worker_name: str = "worker-1", lease_seconds: float = 60.0) -> DeliveryStore:
        return PostgresDeliveryStore(self._engine, worker_name=worker_name, lease_seconds=lease_seconds)

    async def pass_time(self, seconds: float) -> None:
        """The clock is PostgreSQL's: rather than wait, move what is to come nearer."""
        passed = timedelta(seconds=seconds)
        async with driver(self._engine) as connection:
            await connection.execute(
                """UPDATE open_deliveries
                      SET next_attempt_at = next_attempt_at - $1::interval, lease_expires_at = lease_expires_at - $1::interval""",
                passed,
            )
            await connection.execute("UPDATE gates SET until = until - $1::interval WHERE until < 'infinity'", passed)

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
        directories = await Directory(self.database.subscriptions, PlainSecretBox()).of([event.organization_id])
        directory = directories[event.organization_id]
        matching = directory.matching(event.type, event.body)
        deliveries = fan_out(uid, event.id, event.type, event.body, START, matching)
        return Recording(
            uid,
            event,
            directory.version,
            tuple(
                NewDelivery(delivery, subscription.endpoint, wants_lease)
                for delivery, subscription in zip(deliveries, matching, strict=True)
            ),
        )

    async def record(self, *recordings: Recording, by: DeliveryStore | None = None) -> Recorded:
        recorded = await (by or self.store).record(recordings)
        assert not isinstance(recorded, Stale)
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
        room: Mapping[str, int] | None = None,
        by: DeliveryStore | None = None,
    ) -> Sequence[Claimed]:
        return await (by or self.store).claim_due(limit, per_endpoint_limit=per_endpoint_limit, room=room or {})

    async def claim_one(self, by: DeliveryStore | None = None) -> Claimed:
        claims = await self.claim(by=by)
        assert len(claims) == 1, claims
        return claims[0]

    async def settle(self, *batch: Settled, by: DeliveryStore | None = None) -> list[bool]:
        return list(await (by or self.store).settle(batch))

    async def show(self, key: DeliveryKey) -> Shown:
        shown = await self.database.show(key)
        assert shown is not None
        return shown

    async def attempts(self, key: DeliveryKey) -> Sequence[ShownAttempt]:
        return await self.database.attempts(key)


def lease_of(recording: Recording, index: int = 0) -> Lease:
    """The lease of a delivery that was born leased."""
    new = recording.deliveries[index]
    return Lease(new.delivery, new.endpoint, 1, 0.0)


def claimed(lease: Lease) -> Claimed:
    """A birth lease as if it had been claimed."""
    return Claimed(lease.delivery, lease.claim_number, 0)


def leased(claim: Claimed) -> Lease:
    """The lease a claim came with."""
    delivery = claim.delivery
    endpoint = Endpoint(delivery.endpoint_id, delivery.organization_id, "https://a.example/", ())
    return Lease(delivery, endpoint, claim.claim_number, 0.0)


def is_same(delivery: Delivery, other: Delivery) -> bool:
    """The same but for when it was made, which is the database's to say."""
    names = ("key", "organization_id", "event_id", "event_type", "body", "endpoint_id")
    return all(getattr(delivery, name) == getattr(other, name) for name in names)
