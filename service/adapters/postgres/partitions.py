"""Daily partitions of events, final deliveries and attempts: created ahead of time and dropped as a whole."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, takewhile
from uuid import UUID

import asyncpg

from service.core.events.uid import received_at
from service.ports.errors import UnavailableError

PARTITIONED = ("events", "final_deliveries", "attempts")
DAYS_BEHIND = 1  # a worker whose clock is behind by less than this still finds its partition
DAYS_AHEAD = 7  # upkeep may fail for a week before an event finds no partition
AHEAD_MAX = timedelta(days=1)  # no worker's clock is further ahead

DETACH_MILLISECONDS_MAX = 2_000
"""For each transaction that may be using the day. Nobody waits behind this but who reads that day's table by name."""

_LOCK = 0x706172746974  # "partit"
_IN_USE = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # another worker is detaching a day of this table
    asyncpg.UndefinedTableError,  # another worker has just dropped it
)


def first_uid_of(day: datetime) -> UUID:
    """The smallest UUIDv7 of a day: the time followed by zeroes."""
    return UUID(int=int(day.timestamp() * 1000) << 80)


def horizon() -> datetime:
    """Nothing was received later. To look into the days that are only made ahead takes longer than all the rest."""
    return datetime.now(UTC) + AHEAD_MAX


async def create_partitions(connection: asyncpg.Connection) -> None:
    """Create the missing partitions from yesterday to a week ahead."""
    today = await today_of(connection)
    existing = {row["name"] for row in await _partitions(connection)}
    for offset in range(-DAYS_BEHIND, DAYS_AHEAD + 1):
        day = today + timedelta(days=offset)
        for table in reversed(PARTITIONED):  # events last: what can be recorded can be settled
            if _name(table, day) not in existing:
                await create_partition(connection, table, day)


async def days_ahead(connection: asyncpg.Connection) -> int:
    """How many days in a row after today have all their partitions; -1 if today has not."""
    today = await today_of(connection)
    existing = {row["name"] for row in await _partitions(connection)}
    days = takewhile(
        lambda day: all(_name(table, day) in existing for table in PARTITIONED),
        (today + timedelta(days=offset) for offset in count()),
    )
    return sum(1 for _ in days) - 1


async def make_days_of(connection: asyncpg.Connection, uids: Iterable[UUID]) -> None:
    """Make the days that events with these uids need. Raises ``UnavailableError`` for one that is not to be made."""
    await create_partitions(connection)
    existing = {row["name"] for row in await _partitions(connection)}
    for day in {received_at(uid).date() for uid in uids}:
        if f"{PARTITIONED[0]}_{day:%Y%m%d}" not in existing:
            today = await today_of(connection)
            raise UnavailableError(
                f"no partition is made for {day}: by the database's clock it is {today:%Y-%m-%d}. Correct this "
                "machine's clock, or the database's; the events are held until then"
            )


async def today_of(connection: asyncpg.Connection) -> datetime:
    """The midnight that began the day, by the database's clock: it alone says which days are made and dropped."""
    now: datetime = await connection.fetchval("SELECT now()")
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


async def days_before(connection: asyncpg.Connection, until: datetime) -> Sequence[datetime]:
    """The days before ``until`` of which any table is left, attached or not, the oldest first."""
    rows = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname ~ $1",
        f"^({'|'.join(PARTITIONED)})_[0-9]{{8}}$",
    )
    return sorted({day for row in rows if (day := _day(row["relname"])) < until})


async def drop_partition(connection: asyncpg.Connection, table: str, day: datetime) -> bool:
    """Drop the day's partition of ``table``, or say False: it is in use, and dropped at a later round.

    Detached CONCURRENTLY, and only then dropped. A plain DROP waits for everybody who uses any day of the table, and
    everybody else waits behind it. This one lets them pass: only who reads that day's table by its name may wait, for
    ``DETACH_MILLISECONDS_MAX``.

    Dying after the first line of SQL leaves a partition that is being detached, which queries no longer see; after the
    second, a table of its own. The next round finds either, and goes on.
    """
    name = _name(table, day)
    is_pending = await connection.fetchval(
        "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass($1)", name
    )
    try:
        # For the session, as the next statement cannot run in a transaction.
        await connection.execute(f"SET lock_timeout = {DETACH_MILLISECONDS_MAX}")
        try:
            if is_pending is not None:
                how = "FINALIZE" if is_pending else "CONCURRENTLY"
                await connection.execute(f'ALTER TABLE {table} DETACH PARTITION "{name}" {how}')
            await connection.execute(f'DROP TABLE IF EXISTS "{name}"')
        except _IN_USE:
            return False
        finally:
            await connection.execute("RESET lock_timeout")
    except BaseException:
        connection.terminate()  # it must not go back to the pool with that setting
        raise
    return True


async def create_partition(connection: asyncpg.Connection, table: str, day: datetime) -> None:
    """Create the day's partition of ``table``, if there is none."""
    name = _name(table, day)
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
