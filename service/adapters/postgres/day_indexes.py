"""Indexes that days were made without: a revision makes them ``ON ONLY`` their table, and the days get them here.

A plain CREATE INDEX would read every day under a lock that no event can be recorded beside. Without the index a day is
only slower to look through, so the service runs meanwhile. New days have it from the beginning (``create_partition``).
"""

import asyncio
from typing import Final, NamedTuple

import asyncpg

BUILD_SECONDS_MAX: Final = 24 * 3600.0
"""For one day: the build reads it twice, and waits for whatever transaction is older, such as a dump."""
ATTACH_LOCK_TIMEOUT: Final = "10s"
WAIT_SECONDS: Final = 1.0

_LOCK: Final = 0x696E6465786573  # "indexes"


class _DayIndex(NamedTuple):
    """An index of a table that has a partition for each day."""

    table: str
    suffix: str
    definition: str

    @property
    def name(self) -> str:
        return f"{self.table}_{self.suffix}"


_INDEXES: Final = (
    _DayIndex("events", "by_external_id", "(organization_id, external_id, uid) WHERE external_id IS NOT NULL"),
    _DayIndex("events", "by_brand", "(organization_id, brand_id, event_type, uid) WHERE brand_id IS NOT NULL"),
    _DayIndex("events", "by_campaign", "(organization_id, campaign_id, event_type, uid) WHERE campaign_id IS NOT NULL"),
    _DayIndex("events", "by_project", "(organization_id, project_id, event_type, uid) WHERE project_id IS NOT NULL"),
    _DayIndex("events", "by_transaction", "(recorded_in)"),
    _DayIndex("attempts", "by_transaction", "(recorded_in)"),
    _DayIndex("final_deliveries", "by_end", "(ended_at)"),
)
_NEXT_DAY: Final = """
SELECT day.relname FROM pg_inherits JOIN pg_class day ON day.oid = inhrelid
 WHERE inhparent = to_regclass($1) AND NOT inhdetachpending
   AND NOT EXISTS (SELECT FROM pg_inherits attached JOIN pg_index ON indexrelid = attached.inhrelid
                    WHERE attached.inhparent = to_regclass($2) AND indrelid = day.oid)
 ORDER BY day.relname DESC LIMIT 1
"""


_IS_DAY: Final = """
SELECT EXISTS (SELECT FROM pg_inherits
                WHERE inhparent = to_regclass($1) AND inhrelid = to_regclass($2) AND NOT inhdetachpending)
"""
_ATTACHED_THOUGH_INVALID: Final = """
SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_index ON indexrelid = inhparent
 WHERE inhparent = to_regclass($1) AND NOT indisvalid LIMIT 1
"""


async def index_days(connection: asyncpg.Connection) -> None:
    """Give every day each index, the newest first. What was interrupted is made anew by the next call."""
    # Asked again and again: waiting in PostgreSQL is a transaction, and whoever has the lock would wait for its end.
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):  # noqa: ASYNC110
        await asyncio.sleep(WAIT_SECONDS)
    try:
        for index in _INDEXES:
            while (day := await connection.fetchval(_NEXT_DAY, index.table, index.name)) is not None:
                try:
                    await _index_day(connection, index, day)
                except asyncpg.PostgresError:
                    if await connection.fetchval(_IS_DAY, index.table, day):
                        raise  # otherwise retention has dropped the day meanwhile
            await _validate(connection, index)
    finally:
        if not connection.is_closed():
            await connection.execute(f"SELECT pg_advisory_unlock({_LOCK})")


async def _index_day(connection: asyncpg.Connection, index: _DayIndex, day: str) -> None:
    name = f"{day}_{index.suffix}"
    if await connection.fetchval("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", name):
        await connection.execute(f"DROP INDEX CONCURRENTLY {name}", timeout=BUILD_SECONDS_MAX)
    await connection.execute(
        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {day} {index.definition}", timeout=BUILD_SECONDS_MAX
    )
    await _attach(connection, index, name)


async def _attach(connection: asyncpg.Connection, index: _DayIndex, name: str) -> None:
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{ATTACH_LOCK_TIMEOUT}'")
        await connection.execute(f"ALTER INDEX {index.name} ATTACH PARTITION {name}")


async def _validate(connection: asyncpg.Connection, index: _DayIndex) -> None:
    """Have PostgreSQL see that every day has the index, if it has not noticed.

    It looks only when an index is attached. If retention dropped the last day that lacked one, nobody attaches any
    more; to attach one that is attached already makes it look, and changes nothing else.
    """
    attached = await connection.fetchval(_ATTACHED_THOUGH_INVALID, index.name)
    if attached is not None:
        await _attach(connection, index, attached)
