"""Deliveries in PostgreSQL: the hot path that records, claims and settles."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from hashlib import sha256

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries import statements
from service.adapters.postgres.deliveries.effects import obey
from service.adapters.postgres.deliveries.rows import claimed_of, columns, key_row, late_attempt_row, settled_row
from service.adapters.postgres.engine import driver
from service.adapters.postgres.partitions import create_partitions, drop_partitions
from service.adapters.postgres.requests.idempotency import purge_idempotency_keys
from service.core.deliveries.delivery import Lease
from service.core.deliveries.fair_share import fair_shares
from service.core.deliveries.settlement import Settled
from service.ports.store import Backlog, Claimed, Disposition, Recorded, Recording, Stale

TURNS_MAX = 500  # endpoints examined in one read; the next read continues where this one stopped
SMALL_BATCH_MAX = 32  # rows; up to this size, planning a statement costs more than running it


class PostgresDeliveryStore:
    """Implements ``DeliveryStore`` and ``RetentionStore``. Due times and leases use the database's clock."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        worker_name: str,
        lease_seconds: float,
        retention_days: int = 30,
        small_batches: AsyncEngine | None = None,
    ) -> None:
        """``small_batches``: an engine that ``connect`` made for small batches; without it all use ``engine``."""
        self._engine = engine
        self._small_batches = small_batches or engine
        self._worker_name = worker_name
        self._lease = timedelta(seconds=lease_seconds)
        self._retention_days = retention_days
        self._last_served = ""  # the next claim starts with the endpoint after this one, so that all take turns

    async def record(self, batch: Sequence[Recording]) -> Recorded | Stale:
        """Record new events and their deliveries; a known event is a no-op."""
        versions = {each.event.organization_id: each.directory_version for each in batch}
        events = [each.event for each in batch]
        digests = [sha256(event.body).digest() for event in events]
        born = [new for each in batch for new in each.deliveries]
        keys = [new.delivery.key for new in born]
        async with driver(self._engine_for(len(batch) + len(born))) as connection:
            row = await connection.fetchrow(
                statements.RECORD,
                list(versions),
                list(versions.values()),
                [each.uid for each in batch],
                [event.organization_id for event in events],
                [event.id for event in events],
                [event.type for event in events],
                [event.occurred_at for event in events],
                [event.is_test for event in events],
                [event.body for event in events],
                digests,
                [event.message_id for event in events],
                [event.reply_to_id for event in events],
                [key.event_uid for key in keys],
                [key.subscription_id for key in keys],
                [new.endpoint.id for new in born],
                [new.wants_lease for new in born],
                self._worker_name,
                self._lease,
            )
            if row["stale"]:
                return Stale(frozenset(row["stale"]))
            fresh = set(row["fresh"] or ())
            dispositions = [Disposition.RECORDED if each.uid in fresh else Disposition.DUPLICATE for each in batch]
            if len(fresh) < len(batch):
                await self._find_conflicts(connection, batch, digests, dispositions)
        pending = {(uid, subscription_id) for uid, subscription_id in row["pending"] or ()}
        leased = frozenset(
            key
            for key, new in zip(keys, born, strict=True)
            if new.wants_lease and key.event_uid in fresh and (key.event_uid, key.subscription_id) not in pending
        )
        return Recorded(tuple(dispositions), leased)

    def _engine_for(self, row_count: int) -> AsyncEngine:
        return self._small_batches if row_count <= SMALL_BATCH_MAX else self._engine

    async def _find_conflicts(
        self,
        connection: asyncpg.Connection,
        batch: Sequence[Recording],
        digests: Sequence[bytes],
        dispositions: list[Disposition],
    ) -> None:
        """Distinguish a repeated event from a different event with the same id. The first one stays."""
        known = [index for index, disposition in enumerate(dispositions) if disposition is Disposition.DUPLICATE]
        rows = await connection.fetch(
            statements.KNOWN,
            [batch[index].event.organization_id for index in known],
            [batch[index].event.id for index in known],
        )
        kept = {(row["organization_id"], row["event_id"]): row["digest"] for row in rows}
        for index in known:
            event = batch[index].event
            if kept.get((event.organization_id, event.id), digests[index]) != digests[index]:
                dispositions[index] = Disposition.CONFLICT

    async def claim_due(self, limit: int, *, per_endpoint_limit: int, room: Mapping[str, int]) -> Sequence[Claimed]:
        """Lease due deliveries, taking endpoints in turn. A claim that finds nothing is one short read."""
        if limit <= 0:
            return ()
        async with driver(self._engine) as connection:
            turns = await self._next_turns(connection, limit, room)
            if not turns:
                return ()
            shares = fair_shares(turns, limit, per_endpoint_limit=per_endpoint_limit, room=room)
            async with connection.transaction():
                rows = await connection.fetch(
                    statements.CLAIM,
                    list(shares),
                    list(shares.values()),
                    self._worker_name,
                    self._lease,
                    sum(shares.values()),
                )
                uids = list({row["event_uid"] for row in rows})
                bodies = dict(await connection.fetch(statements.BODIES, uids)) if uids else {}
        # A row whose event's partition has just been dropped is skipped: it is never sent without its body.
        return [claimed_of(row, bodies[row["event_uid"]]) for row in rows if row["event_uid"] in bodies]

    async def _next_turns(self, connection: asyncpg.Connection, limit: int, room: Mapping[str, int]) -> list[str]:
        turns: list[str] = []
        has_wrapped = not self._last_served
        while True:  # once through all endpoints, starting where the last claim stopped
            rows = await connection.fetch(statements.TURNS, self._last_served, TURNS_MAX)
            for row in rows:
                self._last_served = row["endpoint_id"]
                if row["is_due"] and room.get(row["endpoint_id"], 1) > 0 and row["endpoint_id"] not in turns:
                    turns.append(row["endpoint_id"])
                if len(turns) >= limit:
                    return turns
            if len(rows) == TURNS_MAX:
                if turns:
                    return turns
                continue
            self._last_served = ""
            if has_wrapped:
                return turns
            has_wrapped = True

    async def settle(self, batch: Sequence[Settled]) -> Sequence[bool]:
        """Record the attempts and move the deliveries, in one commit."""
        arguments = columns([settled_row(each) for each in batch], 16)
        effects = [effect for each in batch for effect in each.effects]
        async with driver(self._engine_for(len(batch))) as connection:
            if not effects:  # nearly always: then the transaction is one statement
                row = await connection.fetchrow(statements.SETTLE, *arguments)
            else:
                async with connection.transaction():
                    row = await connection.fetchrow(statements.SETTLE, *arguments)
                    await obey(connection, effects)
            tried = [each for each in batch if each.attempt is not None]
            if row["tried"] < len(tried):
                for each in tried:
                    await connection.execute(statements.RECORD_LATE_ATTEMPT, *late_attempt_row(each))
        unmoved = set(row["unmoved"] or ())
        return [ordinal not in unmoved for ordinal in range(1, len(batch) + 1)]

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give back leases without an attempt; their deliveries are due at once."""
        rows = [(*key_row(lease.delivery.key), lease.claim_number) for lease in leases]
        async with driver(self._engine) as connection:
            await connection.execute(statements.RELEASE, *columns(rows, 4))

    async def rescue(self, limit: int) -> Sequence[Claimed]:
        """Take over leases that have expired."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(statements.RESCUE, limit, self._worker_name, self._lease)
        return [claimed_of(row, b"") for row in rows]

    async def backlog(self) -> Backlog:
        """Measure the backlog. Counting stops at 100,001: beyond that, the exact number is of no use."""
        async with driver(self._engine) as connection:
            row = await connection.fetchrow(statements.BACKLOG)
            gates = await connection.fetch("SELECT kind, count(*) FROM gates WHERE until > now() GROUP BY kind")
        return Backlog(row["due_count"], row["due_age"], row["gated_count"], row["gated_age"], dict(gates))

    async def keep_partitions(self) -> None:
        """Create the partitions of the days ahead, drop those past retention, and delete old Idempotency-Keys."""
        async with driver(self._engine) as connection:
            await create_partitions(connection)
            await drop_partitions(connection, self._retention_days)
            await purge_idempotency_keys(connection)
