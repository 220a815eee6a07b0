"""Retention in PostgreSQL: what is open in an old day ends, the day is dropped, and what else is over is deleted."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.audit.log import PURGE_AUDIT_LOG
from service.adapters.postgres.deliveries.limits import purge_places
from service.adapters.postgres.deliveries.lines import purge_lines
from service.adapters.postgres.deliveries.rows import delivery_of
from service.adapters.postgres.endpoints.gates.breakers import purge_breakers
from service.adapters.postgres.engine import driver
from service.adapters.postgres.events.announcements import announce
from service.adapters.postgres.partitions import (
    create_partitions,
    days_ahead,
    days_before,
    drop_partition,
    first_uid_of,
    today_of,
)
from service.adapters.postgres.replays.statements import PURGE_JOBS
from service.adapters.postgres.requests.idempotency import purge_idempotency_keys
from service.adapters.postgres.stats.counting import purge_counts
from service.core.deliveries.announcements import delivery_dead
from service.core.events.uid import day_of, received_at
from service.core.reason import Reason
from service.ports.retention import AGEING_MAX, AGEING_RATIO, Ageing, Ages, Expired

DAY: Final = timedelta(days=1)
PURGE_BATCH_MAX: Final = 2_000
"""Rows deleted in one statement, which takes some ten milliseconds."""
AGEING_ROWS_MAX: Final = 100_000
"""Open deliveries counted by endpoint; beyond that, the exact number is of no use."""

DEAD_ROWS_MAX: Final = 10_000
DEAD_RATIO_MAX: Final = 0.2
"""Of the live rows: a vacuum reads every index from end to end, so a long backlog has it less often."""
VACUUM_REST: Final = timedelta(seconds=8)
"""Since the last one, whoever ran it: while a long snapshot keeps dead rows, another one is of no use."""
VACUUM_SECONDS_MAX: Final = 600.0

# In partitions no row goes by itself. What another role owns is autovacuum's: PostgreSQL would skip it with a warning.
_FULL_OF_DEAD: Final = """
SELECT s.relname FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
 WHERE s.schemaname = 'public' AND NOT c.relispartition AND pg_has_role(c.relowner, 'USAGE')
   AND s.n_dead_tup > greatest($1::bigint, $2::float8 * s.n_live_tup)
   AND coalesce(greatest(s.last_vacuum, s.last_autovacuum) < now() - $3::interval, true)
"""

# $1 until this uid; $2 made before, or null.
_OLDEST: Final = """
SELECT event_uid FROM open_deliveries
 WHERE state = 'pending' AND event_uid < $1 AND ($2::timestamptz IS NULL OR created_at < $2)
 ORDER BY event_uid LIMIT 1
"""

# $1, $2 the first and the last uid of a day; $3 made before, or null; $4 the limit. What a worker is claiming now is
# skipped, and not waited for.
_EXPIRE: Final = """
WITH old AS (
    SELECT event_uid, subscription_id, replay_number FROM open_deliveries
     WHERE state = 'pending' AND event_uid BETWEEN $1 AND $2 AND ($3::timestamptz IS NULL OR created_at < $3)
     ORDER BY event_uid LIMIT $4 FOR UPDATE SKIP LOCKED
), ended AS (
    DELETE FROM open_deliveries d USING old
     WHERE d.event_uid = old.event_uid AND d.subscription_id = old.subscription_id
       AND d.replay_number = old.replay_number
    RETURNING d.*
), places AS (
    DELETE FROM ordered_deliveries s USING ended
     WHERE s.event_uid = ended.event_uid AND s.subscription_id = ended.subscription_id
       AND s.replay_number = ended.replay_number
), history AS (
    INSERT INTO final_deliveries (event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id,
                                  event_type, state, reason, last_status, created_at, claims_made, attempts_made)
    SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type, 'dead',
           'past_retention', last_status, created_at, claims_made, attempts_made
      FROM ended
)
SELECT *, now() AS at FROM ended
"""

# For a day whose final deliveries are gone already: somebody dropped them by hand.
_EXPIRE_WITHOUT_HISTORY: Final = _EXPIRE.replace("FROM ended\n)", "FROM ended WHERE false\n)")

_IS_OPEN: Final = "SELECT EXISTS (SELECT FROM open_deliveries WHERE event_uid BETWEEN $1 AND $2)"

_DROP_FAN_OUTS: Final = """
DELETE FROM fan_outs WHERE event_uid IN (
    SELECT event_uid FROM fan_outs WHERE event_uid < $1 ORDER BY event_uid LIMIT $2 FOR UPDATE SKIP LOCKED)
"""

# $1 after this uid, where the last batch ended: so that none reads again what those before it deleted; $2 until this
# uid; $3 the limit.
_PURGE_KEYS: Final = """
WITH old AS (
    SELECT ctid, event_uid FROM event_keys WHERE event_uid > $1 AND event_uid < $2
     ORDER BY event_uid LIMIT $3 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM event_keys WHERE ctid = ANY (ARRAY(SELECT ctid FROM old))
)
SELECT event_uid FROM old ORDER BY event_uid DESC LIMIT 1
"""

# A gate that another transaction has locked is being shut again, or is deleted at the next round: nobody waits for it.
# What never opens by itself has no end, so it stays.
_PURGE_GATES: Final = """
DELETE FROM gates WHERE (endpoint_id, kind) IN (
    SELECT endpoint_id, kind FROM gates WHERE until < now() - interval '1 day' LIMIT $1 FOR UPDATE SKIP LOCKED)
"""

_OLDEST_OPEN: Final = "SELECT event_uid FROM open_deliveries ORDER BY event_uid LIMIT 1"

# $1 until this uid, $2 how many rows are counted, $3 how many endpoints are named.
_AGEING: Final = """
SELECT organization_id, endpoint_id, count(*) AS delivery_count, (array_agg(event_uid ORDER BY event_uid))[1] AS oldest,
       ARRAY(SELECT kind FROM gates g WHERE g.endpoint_id = old.endpoint_id AND g.until > now() ORDER BY kind) AS gates
  FROM (SELECT organization_id, endpoint_id, event_uid FROM open_deliveries WHERE event_uid < $1
         ORDER BY event_uid LIMIT $2) AS old
 GROUP BY organization_id, endpoint_id ORDER BY oldest LIMIT $3
"""


class PostgresRetentionStore:
    """Implements ``RetentionStore``."""

    def __init__(self, engine: AsyncEngine, *, retention_days: int, audit_retention_days: int) -> None:
        self._engine = engine
        self._retention_days = retention_days
        self._audit_retention_days = audit_retention_days

    async def make_days(self) -> int:
        """Make the days ahead that are missing; returns how many days after today are there."""
        async with driver(self._engine) as connection:
            await create_partitions(connection)
            return await days_ahead(connection)

    async def expire(self, limit: int) -> Sequence[Expired]:
        """End at most ``limit`` deliveries of a day that is dropped within a day."""
        async with driver(self._engine) as connection:
            oldest_kept = await self._oldest_kept(connection)
            # What was waiting when a day had one day left ends then, so that it can be seen and replayed for that day.
            for until, made_before in ((oldest_kept, None), (oldest_kept + DAY, oldest_kept + DAY)):
                oldest = await connection.fetchval(_OLDEST, first_uid_of(until), made_before)
                if oldest is not None:
                    return await _expire(connection, day_of(oldest), made_before, limit)
        return ()

    async def drop_days(self) -> int:
        """Drop the days past retention; returns how many are left for later, as they are in use or hold open ones."""
        async with driver(self._engine) as connection:
            oldest_kept = await self._oldest_kept(connection)
            await _in_batches(connection, _DROP_FAN_OUTS, first_uid_of(oldest_kept))
            days = await days_before(connection, oldest_kept)
            for dropped_count, day in enumerate(days):
                if not await _drop_day(connection, day):
                    return len(days) - dropped_count
            return 0

    async def purge(self) -> None:
        """Delete what else is over, in small batches."""
        async with driver(self._engine) as connection:
            oldest_kept = await self._oldest_kept(connection)
            # A key lives as long as its event: a day that could not be dropped yet keeps its keys.
            oldest_left = next(iter(await days_before(connection, oldest_kept)), oldest_kept)
            last: UUID | None = UUID(int=0)
            while last is not None:
                last = await connection.fetchval(_PURGE_KEYS, last, first_uid_of(oldest_left), PURGE_BATCH_MAX)
            while await purge_idempotency_keys(connection, PURGE_BATCH_MAX) == PURGE_BATCH_MAX:
                pass
            while await purge_places(connection, PURGE_BATCH_MAX) == PURGE_BATCH_MAX:
                pass
            await purge_lines(connection, PURGE_BATCH_MAX)
            await _in_batches(connection, _PURGE_GATES)
            await _in_batches(connection, PURGE_JOBS, timedelta(days=self._retention_days))
            await _in_batches(connection, PURGE_AUDIT_LOG, timedelta(days=self._audit_retention_days))
            await purge_breakers(connection)
            await purge_counts(connection, oldest_left, PURGE_BATCH_MAX)

    async def vacuum(self) -> Sequence[str]:
        """Vacuum the tables that churn and hold many dead rows; returns which."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(_FULL_OF_DEAD, DEAD_ROWS_MAX, DEAD_RATIO_MAX, VACUUM_REST)
            tables: list[str] = [row["relname"] for row in rows]
            for table in tables:
                # Locked: another worker, or autovacuum, is at it. To truncate a table takes a lock that all wait for.
                options = "SKIP_LOCKED, TRUNCATE FALSE, PARALLEL 0"
                await connection.execute(f'VACUUM ({options}) "{table}"', timeout=VACUUM_SECONDS_MAX)
            return tables

    async def ages(self) -> Ages:
        """How near open deliveries are to the end of retention."""
        async with driver(self._engine) as connection:
            return await ages_of(connection, self._retention_days)

    async def _oldest_kept(self, connection: asyncpg.Connection) -> datetime:
        return await today_of(connection) - timedelta(days=self._retention_days)


async def ages_of(connection: asyncpg.Connection, retention_days: int) -> Ages:
    """How near open deliveries are to the end of a retention of so many days."""
    now: datetime = await connection.fetchval("SELECT now()")
    oldest = await connection.fetchval(_OLDEST_OPEN)
    if oldest is None:
        return Ages(retention_days)
    near = first_uid_of(now - AGEING_RATIO * timedelta(days=retention_days))
    rows = await connection.fetch(_AGEING, near, AGEING_ROWS_MAX, AGEING_MAX)
    ageing = [
        Ageing(
            row["organization_id"],
            row["endpoint_id"],
            row["delivery_count"],
            _age_days(row["oldest"], now),
            tuple(row["gates"]),
        )
        for row in rows
    ]
    return Ages(retention_days, _age_days(oldest, now), tuple(ageing))


def _age_days(uid: UUID, now: datetime) -> float:
    return max(0.0, (now - received_at(uid)) / DAY)


async def _expire(
    connection: asyncpg.Connection, day: tuple[UUID, UUID], made_before: datetime | None, limit: int
) -> Sequence[Expired]:
    try:
        return await _end_and_tell(connection, _EXPIRE, *day, made_before, limit)
    except asyncpg.CheckViolationError:
        return await _end_and_tell(connection, _EXPIRE_WITHOUT_HISTORY, *day, made_before, limit)


async def _end_and_tell(connection: asyncpg.Connection, statement: str, *values: object) -> Sequence[Expired]:
    async with connection.transaction():
        rows = await connection.fetch(statement, *values)
        dead = (delivery_dead(delivery_of(row), Reason.PAST_RETENTION, row["last_status"], row["at"]) for row in rows)
        await announce(connection, [event for event in dead if event is not None])
    counts = Counter((row["organization_id"], row["endpoint_id"]) for row in rows)
    return [Expired(*of, count) for of, count in sorted(counts.items())]


async def _drop_day(connection: asyncpg.Connection, day: datetime) -> bool:
    """Drop a day of which nothing is open; False leaves it for later.

    The events go first, and what is open is looked at again: somebody may have replayed one of them meanwhile, and that
    delivery ends before the table that says how it ended is dropped. Whoever saw the event has committed by then.
    """
    uids = first_uid_of(day), UUID(int=first_uid_of(day + DAY).int - 1)
    if await connection.fetchval(_IS_OPEN, *uids) or not await drop_partition(connection, "events", day):
        return False
    if await connection.fetchval(_IS_OPEN, *uids):
        return False
    return await drop_partition(connection, "final_deliveries", day) and await drop_partition(
        connection, "attempts", day
    )


async def _in_batches(connection: asyncpg.Connection, statement: str, *values: object) -> None:
    """Run a DELETE, whose last argument is a limit, until it finds nothing more."""
    while int((await connection.execute(statement, *values, PURGE_BATCH_MAX)).split()[1]) == PURGE_BATCH_MAX:
        pass
