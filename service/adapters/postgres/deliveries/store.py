"""Deliveries in PostgreSQL: the hot path that records, claims and settles."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries import statements
from service.adapters.postgres.deliveries.effects import obey
from service.adapters.postgres.deliveries.limits import Opened, open_limited, take
from service.adapters.postgres.deliveries.lines import lease_heads, line_up
from service.adapters.postgres.deliveries.rows import claimed_of, columns, key_row, late_attempt_rows, settled_row
from service.adapters.postgres.endpoints.gates.breakers import count_successes
from service.adapters.postgres.engine import NoDayError, database_now, driver
from service.adapters.postgres.partitions import make_days_of
from service.core.deliveries.delivery import Lease
from service.core.deliveries.effect import CountFailure
from service.core.deliveries.fairness.fair_share import Turn
from service.core.deliveries.settlement import Settled
from service.core.endpoints.gates.breaker import NEVER_OPENS, BreakerLimits
from service.ports.errors import UnavailableError
from service.ports.store import Backlog, Claimed, Disposition, Recorded, Recording, Shares

TURNS_MAX = 500  # endpoints examined in one read; the next read continues where this one stopped
PAGES_MAX = 2  # reads in one claim, where many endpoints have due deliveries and this worker has no room for them
SMALL_BATCH_MAX = 32  # rows; up to this size, planning a statement costs more than running it


class PostgresDeliveryStore:
    """Implements ``DeliveryStore``. Due times and leases use the database's clock."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        worker_name: str,
        lease_seconds: float,
        small_batches: AsyncEngine | None = None,
        breaker: BreakerLimits = NEVER_OPENS,
    ) -> None:
        """``small_batches``: an engine that ``connect`` made for small batches; without it all use ``engine``."""
        self._engine = engine
        self._small_batches = small_batches or engine
        self._worker_name = worker_name
        self._lease = timedelta(seconds=lease_seconds)
        self._breaker = breaker
        self._with_more: list[str] = []  # endpoints of the last claim that had more than their share
        self._last_served = ""  # the next claim starts with the endpoint after this one, so that all take turns

    async def record(self, batch: Sequence[Recording]) -> Recorded:
        """Record new events and their deliveries; a known event is a no-op. A day that is missing is made."""
        try:
            return await self._record(batch)
        except NoDayError:
            async with driver(self._engine) as connection:
                await make_days_of(connection, [each.uid for each in batch])
            return await self._record(batch)

    async def _record(self, batch: Sequence[Recording]) -> Recorded:
        versions = _versions(batch)
        events = [each.event for each in batch]
        digests = [sha256(event.body).digest() for event in events]
        born = [new for each in batch for new in each.deliveries]
        keys = [new.delivery.key for new in born]
        arguments = (
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
            [event.external_id for event in events],
            [event.brand_id for event in events],
            [event.campaign_id for event in events],
            [event.project_id for event in events],
            [key.event_uid for key in keys],
            [key.subscription_id for key in keys],
            [new.endpoint.id for new in born],
            [new.wants_lease for new in born],
            self._worker_name,
            self._lease,
        )
        async with driver(self._engine_for(len(batch) + len(born))) as connection:
            has_lines = any(new.line is not None for new in born)
            if not has_lines and not any(each.is_deferred for each in batch):
                row = await connection.fetchrow(statements.RECORD, *arguments)  # nearly always: in one statement
            else:
                async with connection.transaction():
                    row = await connection.fetchrow(statements.RECORD, *arguments)
                    await _defer(connection, batch, set(row["fresh"] or ()))
                    if has_lines:
                        await line_up(connection, _places(batch, set(row["fresh"] or ())))
            stale, fresh = frozenset(row["stale"] or ()), set(row["fresh"] or ())
            dispositions = [_disposition(each, stale, fresh) for each in batch]
            if Disposition.DUPLICATE in dispositions:
                await self._find_conflicts(connection, batch, digests, dispositions)
        pending = {(uid, subscription_id) for uid, subscription_id in row["pending"] or ()}
        leased = frozenset(
            key
            for key, new in zip(keys, born, strict=True)
            if new.wants_lease and key.event_uid in fresh and (key.event_uid, key.subscription_id) not in pending
        )
        return Recorded(tuple(dispositions), leased, stale)

    def _engine_for(self, row_count: int) -> AsyncEngine:
        return self._small_batches if row_count <= SMALL_BATCH_MAX else self._engine

    async def _find_conflicts(
        self,
        connection: asyncpg.Connection,
        batch: Sequence[Recording],
        digests: Sequence[bytes],
        dispositions: list[Disposition | None],
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

    async def claim_due(self, shares: Shares) -> Sequence[Claimed]:
        """Lease due deliveries, taking endpoints in turn. A claim that finds nothing is one short read."""
        async with driver(self._engine) as connection:
            granted, limited = await self._next_turns(connection, shares)
            if not granted:
                return ()
            claims = await self._claim(connection, granted, limited)
        claimed = Counter(each.delivery.endpoint_id for each in claims)
        unlimited = granted.keys() - limited
        self._with_more = [each for each in granted if each in unlimited and claimed[each] >= granted[each]][:TURNS_MAX]
        return claims

    async def claim_again(self, shares: Mapping[str, int]) -> Sequence[Claimed]:
        """Lease due deliveries of these limited endpoints, without a look at the others."""
        if not shares:
            return ()
        async with driver(self._engine) as connection:
            return await self._claim(connection, shares, shares)

    async def _claim(
        self, connection: asyncpg.Connection, shares: Mapping[str, int], limited: Collection[str]
    ) -> Sequence[Claimed]:
        """Claim the shares; of those ``limited``, only as much as their limits allow now."""
        async with connection.transaction():
            opened: Mapping[str, Opened] = {}
            in_lines: Mapping[str, int] = {}
            if limited:
                kinds = await connection.fetch(statements.KINDS, list(limited))
                bounded = {row["id"]: shares[row["id"]] for row in kinds if row["has_limits"]}
                if bounded:
                    opened = await open_limited(connection, bounded, self._lease)
                allowed = {row["id"]: shares[row["id"]] for row in kinds if not row["has_limits"]}
                allowed |= {each: opened[each].share for each in opened if opened[each].share > 0}
                shares = {**{each: shares[each] for each in shares if each not in limited}, **allowed}
                in_lines = {row["id"]: shares[row["id"]] for row in kinds if row["has_lines"] and row["id"] in shares}
            rows = await self._claim_free(connection, {each: shares[each] for each in shares if each not in in_lines})
            if in_lines:
                rows = [*rows, *await lease_heads(connection, in_lines, self._worker_name, self._lease)]
            grants = await take(connection, opened, rows) if opened else {}
            uids = list({row["event_uid"] for row in rows})
            bodies = dict(await connection.fetch(statements.BODIES, uids)) if uids else {}
            gone = [row for row in rows if row["event_uid"] not in bodies]
            if gone:  # their day was just dropped: they are never sent without their body, and retention ends them
                keys = [(row["event_uid"], row["subscription_id"], row["replay_number"]) for row in gone]
                await connection.execute(statements.SET_ASIDE, *columns(keys, 3))
        return [
            claimed_of(row, bodies[row["event_uid"]], grants.get(row["endpoint_id"]))
            for row in rows
            if row["event_uid"] in bodies
        ]

    async def _claim_free(self, connection: asyncpg.Connection, shares: Mapping[str, int]) -> Sequence[asyncpg.Record]:
        """Claim for endpoints that have no lines."""
        if not shares:
            return ()
        found: Sequence[asyncpg.Record] = await connection.fetch(
            statements.CLAIM,
            list(shares),
            list(shares.values()),
            self._worker_name,
            self._lease,
            sum(shares.values()),
        )
        return found

    async def _next_turns(
        self, connection: asyncpg.Connection, shares: Shares
    ) -> tuple[Mapping[str, int], Collection[str]]:
        """Read on from where the last claim stopped, until endpoints with due deliveries are granted a share.

        Those of the last claim that have more come along: they wait for nobody's turns but their own. Returns the
        shares, and which of these endpoints are limited. At most ``PAGES_MAX`` reads; the next claim continues after
        the last endpoint that was granted one.
        """
        more: Sequence[Turn] = ()
        if self._with_more:
            rows = await connection.fetch(statements.TURNS_OF, self._with_more)
            more, self._with_more = [_turn(row) for row in rows if row["is_due"]], []
        for _ in range(PAGES_MAX):
            began_at_the_first = not self._last_served
            rows = await connection.fetch(statements.TURNS, self._last_served, TURNS_MAX)
            self._last_served = rows[-1]["endpoint_id"] if len(rows) == TURNS_MAX else ""
            page = [_turn(row) for row in rows if row["is_due"]]
            due = {turn.endpoint_id: turn for turn in (*more, *page)}
            wished = shares(tuple(due.values())) if due else {}
            granted = {each: wished[each] for each in due if wished.get(each, 0) > 0}
            if granted:
                last = next((each.endpoint_id for each in reversed(page) if each.endpoint_id in granted), None)
                if last is not None and last != page[-1].endpoint_id:
                    self._last_served = last
                return granted, {each for each in granted if due[each].is_limited}
            if began_at_the_first and not self._last_served:
                break
        return {}, ()

    async def settle(self, batch: Sequence[Settled]) -> Sequence[bool]:
        """Record the attempts and move the deliveries, in one commit."""
        arguments = columns([settled_row(each) for each in batch], 17)
        async with driver(self._engine_for(len(batch))) as connection:
            try:
                if not any(each.effects for each in batch):  # nearly always: then the transaction is one statement
                    row = await connection.fetchrow(statements.SETTLE, *arguments)
                    moved = _moved(batch, row["unmoved"])
                else:
                    async with connection.transaction():
                        row = await connection.fetchrow(statements.SETTLE, *arguments)
                        moved = _moved(batch, row["unmoved"])
                        await obey(connection, batch, moved, self._breaker)
            except asyncpg.UniqueViolationError:  # an attempt's number is taken, as a lease was lost meanwhile
                row, moved = await self._settle_late(connection, batch, arguments)
            await _count_successes(connection, batch, row["back"] or ())
        return moved

    async def _settle_late(
        self,
        connection: asyncpg.Connection,
        batch: Sequence[Settled],
        arguments: Sequence[Sequence[object]],
    ) -> tuple[asyncpg.Record, Sequence[bool]]:
        """The same for a batch in which the number of an attempt is taken: each attempt looks for a free one."""
        try:
            async with connection.transaction():
                row = await connection.fetchrow(statements.SETTLE_WITHOUT_ATTEMPTS, *arguments)
                moved = _moved(batch, row["unmoved"])
                await connection.executemany(statements.RECORD_LATE_ATTEMPT, late_attempt_rows(batch, moved))
                await obey(connection, batch, moved, self._breaker)
        except asyncpg.UniqueViolationError as error:
            raise UnavailableError("another worker was just recording an attempt at the same delivery") from error
        return row, moved

    async def begin(self, leases: Sequence[Lease]) -> Sequence[bool]:
        """Record that the POSTs of these leases are about to begin. False marks one that is not ``still_wanted``."""
        return await self._wanted(statements.BEGIN_POSTS, leases)

    async def still_wanted(self, leases: Sequence[Lease]) -> Sequence[bool]:
        """Whether these may still be sent: leased, not gated, and to an endpoint that has not changed."""
        return await self._wanted(statements.STILL_WANTED, leases)

    async def _wanted(self, statement: str, leases: Sequence[Lease]) -> Sequence[bool]:
        rows = [(*key_row(lease.delivery.key), lease.claim_number, lease.directory_version) for lease in leases]
        async with driver(self._engine_for(len(rows))) as connection:
            wanted = {row["ordinal"] for row in await connection.fetch(statement, *columns(rows, 5))}
        return [ordinal in wanted for ordinal in range(1, len(rows) + 1)]

    async def rescue(self, limit: int) -> Sequence[Claimed]:
        """Take over leases that have expired."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(statements.RESCUE, limit, self._worker_name, self._lease)
        return [claimed_of(row, b"") for row in rows]

    async def now(self) -> datetime:
        """The database's clock."""
        async with driver(self._engine) as connection:
            return await database_now(connection)

    async def backlog(self) -> Backlog:
        """Measure the backlog. Counting stops at 100,001: beyond that, the exact number is of no use."""
        async with driver(self._engine) as connection:
            row = await connection.fetchrow(statements.BACKLOG)
            gates = await connection.fetch(statements.SHUT_KINDS)
            fan_outs = await connection.fetchval(statements.FAN_OUTS_WAITING)
        return Backlog(row["due_count"], row["due_age"], row["gated_count"], row["gated_age"], dict(gates), fan_outs)


def _versions(batch: Sequence[Recording]) -> Mapping[str, int]:
    """The oldest version used for each organization: the copy may have changed between two events."""
    versions: dict[str, int] = {}
    for each in batch:
        if each.directory_version is not None:
            known = versions.get(each.event.organization_id, each.directory_version)
            versions[each.event.organization_id] = min(known, each.directory_version)
    return versions


def _disposition(each: Recording, stale: Collection[str], fresh: Collection[UUID]) -> Disposition | None:
    if each.event.organization_id in stale:
        return None
    return Disposition.RECORDED if each.uid in fresh else Disposition.DUPLICATE


async def _defer(connection: asyncpg.Connection, batch: Sequence[Recording], fresh: Collection[UUID]) -> None:
    deferred = [each for each in batch if each.is_deferred and each.uid in fresh]
    uids, owners = [each.uid for each in deferred], [each.event.organization_id for each in deferred]
    if deferred:
        await connection.execute(statements.DEFER, uids, owners)


def _places(batch: Sequence[Recording], fresh: Collection[UUID]) -> Sequence[tuple[object, ...]]:
    return [
        (*key_row(new.delivery.key), new.endpoint.id, new.line, each.event.occurred_at)
        for each in batch
        if each.uid in fresh
        for new in each.deliveries
        if new.line is not None
    ]


async def _count_successes(connection: asyncpg.Connection, batch: Sequence[Settled], back: Sequence[str]) -> None:
    """Tell the breakers ``back`` of successes, but those of endpoints with failures in this batch: they know in order.

    Dying before this leaves it to their next success.
    """
    failed = {each.endpoint_id for settled in batch for each in settled.effects if isinstance(each, CountFailure)}
    successes = Counter(each for each in back if each not in failed)
    if successes:
        async with connection.transaction():
            await count_successes(connection, successes)


def _moved(batch: Sequence[Settled], unmoved: Sequence[int]) -> Sequence[bool]:
    """For each settlement whether it moved its delivery; ``unmoved`` are the ordinals of those that did not."""
    late = set(unmoved)
    return [ordinal not in late for ordinal in range(1, len(batch) + 1)]


def _turn(row: asyncpg.Record) -> Turn:
    return Turn(row["endpoint_id"], row["organization_id"], row["url"], row["is_limited"])
