"""Indexes that days were made without: a revision makes them ``ON ONLY`` their table, and the days get them here.

A plain CREATE INDEX would read every day under a lock that no event can be recorded beside. Without the index a day is
only slower to look through, so the service runs meanwhile. New days have it from the beginning (``create_partition``).
"""

import asyncio
from typing import Final

import asyncpg

BUILD_SECONDS_MAX: Final = 24 * 3600.0
"""For one day: the build reads it twice, and waits for whatever transaction is older, such as a dump."""
ATTACH_LOCK_TIMEOUT: Final = "10s"
WAIT_SECONDS: Final = 1.0

_LOCK: Final = 0x696E6465786573  # "indexes"
_INDEX: Final = "events_by_external_id"
_DEFINITION: Final = "(organization_id, external_id, uid) WHERE external_id IS NOT NULL"
_NEXT_DAY: Final = f"""
SELECT day.relname FROM pg_inherits JOIN pg_class day ON day.oid = inhrelid
 WHERE inhparent = 'events'::regclass AND NOT inhdetachpending
   AND NOT EXISTS (SELECT FROM pg_inherits attached JOIN pg_index ON indexrelid = attached.inhrelid
                    WHERE attached.inhparent = '{_INDEX}'::regclass AND indrelid = day.oid)
 ORDER BY day.relname DESC LIMIT 1
"""  # noqa: S608 - constants only


async def index_days(connection: asyncpg.Connection) -> None:
    """Give every day the index, the newest first. What was interrupted is made anew by the next call."""
    # Asked again and again: waiting in PostgreSQL is a transaction, and whoever has the lock would wait for its end.
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):  # noqa: ASYNC110
        await asyncio.sleep(WAIT_SECONDS)
    try:
        while (day := await connection.fetchval(_NEXT_DAY)) is not None:
            await _index_day(connection, day)
    finally:
        if not connection.is_closed():
            await connection.execute(f"SELECT pg_advisory_unlock({_LOCK})")


async def _index_day(connection: asyncpg.Connection, day: str) -> None:
    index = f"{day}_by_external_id"
    if await connection.fetchval("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", index):
        await connection.execute(f"DROP INDEX CONCURRENTLY {index}", timeout=BUILD_SECONDS_MAX)
    await connection.execute(
        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {index} ON {day} {_DEFINITION}", timeout=BUILD_SECONDS_MAX
    )
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{ATTACH_LOCK_TIMEOUT}'")
        await connection.execute(f"ALTER INDEX {_INDEX} ATTACH PARTITION {index}")
