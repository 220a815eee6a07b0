"""Daily partitions of events, final deliveries and attempts: created ahead of time and dropped as a whole."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

PARTITIONED = ("events", "final_deliveries", "attempts")
DAYS_BEHIND = 1  # a worker whose clock is behind by less than this still finds its partition
DAYS_AHEAD = 7  # upkeep may fail for a week before an event finds no partition

_LOCK = 0x706172746974  # "partit"


def first_uid_of(day: datetime) -> UUID:
    """The smallest UUIDv7 of a day: the time followed by zeroes."""
    return UUID(int=int(day.timestamp() * 1000) << 80)


async def create_partitions(connection: asyncpg.Connection) -> None:
    """Create the missing partitions from yesterday to a week ahead."""
    today = _midnight(await connection.fetchval("SELECT now()"))
    existing = {row["name"] for row in await _partitions(connection)}
    for offset in range(-DAYS_BEHIND, DAYS_AHEAD + 1):
        day = today + timedelta(days=offset)
        for table in PARTITIONED:
            name = _name(table, day)
            if name not in existing:
                await _create(connection, table, name, day)


async def drop_partitions(connection: asyncpg.Connection, retention_days: int) -> Sequence[str]:
    """Drop the partitions past retention; returns their names.

    An event, its deliveries and their attempts are removed together. Deliveries of such a day that are still open (of
    an endpoint paused for longer than the retention) are deleted first, so that none is claimed without its event.
    """
    oldest_kept = _midnight(await connection.fetchval("SELECT now()")) - timedelta(days=retention_days)
    before = first_uid_of(oldest_kept)
    await connection.execute("DELETE FROM open_deliveries WHERE event_uid < $1", before)
    dropped: list[str] = []
    for name in sorted(row["name"] for row in await _partitions(connection) if _day(row["name"]) < oldest_kept):
        try:
            async with connection.transaction():
                if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                    return dropped  # another worker is dropping partitions
                # A waiting DROP blocks everyone queued behind it: better to give up until the next round.
                await connection.execute("SET LOCAL lock_timeout = '200ms'")
                await connection.execute(f'DROP TABLE IF EXISTS "{name}"')
        except asyncpg.LockNotAvailableError:
            break
        dropped.append(name)
    while await connection.fetchval(
        """WITH old AS (SELECT ctid FROM event_keys WHERE event_uid < $1 LIMIT 10000),
                gone AS (DELETE FROM event_keys WHERE ctid IN (SELECT ctid FROM old) RETURNING 1)
           SELECT count(*) FROM gone""",
        before,
    ):
        pass
    return dropped


async def _create(connection: asyncpg.Connection, table: str, name: str, day: datetime) -> None:
    bounds = f"FROM ('{first_uid_of(day)}') TO ('{first_uid_of(day + timedelta(days=1))}')"
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)  # workers take turns
        if await connection.fetchval("SELECT to_regclass($1)", name) is None:
            # Created separately and attached: CREATE ... PARTITION OF would block every reader and writer meanwhile.
            await connection.execute(f'CREATE TABLE "{name}" (LIKE {table} INCLUDING ALL)')
            await connection.execute(f'ALTER TABLE {table} ATTACH PARTITION "{name}" FOR VALUES {bounds}')


async def _partitions(connection: asyncpg.Connection) -> Sequence[asyncpg.Record]:
    rows: Sequence[asyncpg.Record] = await connection.fetch(
        """SELECT child.relname AS name FROM pg_inherits
             JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent
            WHERE parent.relname = ANY ($1) AND child.relkind = 'r'""",
        PARTITIONED,
    )
    return rows


def _name(table: str, day: datetime) -> str:
    return f"{table}_{day:%Y%m%d}"


def _day(name: str) -> datetime:
    return datetime.strptime(name.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC)


def _midnight(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
