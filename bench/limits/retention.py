"""Days past retention are dropped while events flow, first with a reader in the way who takes long, then without.

A worker drops them when it starts; the events are delivered by another one. A wait is what PostgreSQL says that a
statement has waited for a lock on a table, asked every few milliseconds; those who drop are not counted.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg

from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream
from service.adapters.postgres.partitions import PARTITIONED, create_partition, first_uid_of, today_of

IDLE_FIRST, READER_FIRST, FREE_FIRST = 10_000_000, 20_000_000, 30_000_000
OLDEST_DAYS = 60  # twice the retention
ASK_SECONDS = 0.002
LOOK_SECONDS = 0.2
REST_SECONDS = 8.0

# $1 the first uid of a day, as 12 hexadecimal digits and the rest; $2 how many events
FILL = (
    """INSERT INTO events (uid, organization_id, event_id, event_type, occurred_at, is_test, body)
       SELECT ($1::text || '7000b' || lpad(to_hex(n), 15, '0'))::uuid, 'org_old', n::text, 'message.sent', now(), false,
              convert_to(repeat('x', 800), 'UTF8') FROM generate_series(1, $2::int) AS n""",
    """INSERT INTO final_deliveries (event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id,
                                     event_type, state, created_at, claims_made, attempts_made)
       SELECT ($1::text || '7000b' || lpad(to_hex(n), 15, '0'))::uuid, 1, 0, 'org_old', 'ep_old', n::text,
              'message.sent', 'delivered', now(), 1, 1 FROM generate_series(1, $2::int) AS n""",
    """INSERT INTO attempts (event_uid, subscription_id, replay_number, number, claim_number, started_at, duration_ms,
                             outcome, status, is_counted, detail, reply)
       SELECT ($1::text || '7000b' || lpad(to_hex(n), 15, '0'))::uuid, 1, 0, 1, 1, now(), 7, 'accepted', 200, true, '',
              '' FROM generate_series(1, $2::int) AS n""",
)
WAITS = """
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)) * 1000, 0)::float8
  FROM pg_locks JOIN pg_stat_activity USING (pid)
 WHERE NOT granted AND locktype = 'relation' AND datname = current_database()
   AND query !~* '^\\s*(ALTER|DROP|VACUUM|CREATE)'
"""
LEFT = "SELECT count(*) FROM pg_class WHERE relname ~ '^events_[0-9]{8}$' AND relname < $1"
"""Days that are left on the disk."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--days", type=int, default=10, help="days that are past retention")
    parser.add_argument("--events", type=int, default=20_000, help="events of each such day")
    parser.add_argument("--rate", type=float, default=200, help="new events per second")
    parser.add_argument("--seconds", type=float, default=25, help="how long each of the three parts takes")


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """New events are late in three parts: idle, with a reader in the way of a drop, and while days are dropped."""
    await stage.add([Organization("org_new", [stage.receiver.url("ok", "new")])])
    worker = await stage.start_worker()
    connection = await asyncpg.connect(stage.database_url)
    try:
        today = await today_of(connection)
        for number in range(options.days):
            day = today - timedelta(days=OLDEST_DAYS - number)
            for table in PARTITIONED:
                await create_partition(connection, table, day)
            for statement in FILL:
                await connection.execute(statement, first_uid_of(day).hex[:12], options.events, timeout=120)
        first_kept = f"events_{today - timedelta(days=OLDEST_DAYS // 2):%Y%m%d}"
        found = {"idle": await _part(stage, IDLE_FIRST, options)}
        async with _reader(stage):
            found["with_a_reader"] = await _part(stage, READER_FIRST, options, _rest)
            found["with_a_reader"]["days_left"] = await connection.fetchval(LEFT, first_kept)

        async def dropped() -> None:
            while await connection.fetchval(LEFT, first_kept):  # noqa: ASYNC110 - PostgreSQL tells nobody
                await asyncio.sleep(LOOK_SECONDS)

        found["without"] = await _part(stage, FREE_FIRST, options, dropped)
        found["without"]["days_left"] = await connection.fetchval(LEFT, first_kept)
    finally:
        await connection.close()
    return {**found, **await worker.state([])}


async def _rest() -> None:
    """A worker that has started tries to drop days at once, and gives up within that."""
    await asyncio.sleep(REST_SECONDS)


async def _part(
    stage: Stage, first: int, options: argparse.Namespace, drop: Callable[[], Awaitable[None]] | None = None
) -> dict[str, Any]:
    """Events on time, while a worker starts, and until ``drop`` returns if that is later."""
    waits_ms: list[float] = []
    watching = asyncio.create_task(_watch(stage, waits_ms))
    dropping = asyncio.create_task(_dropping(stage, drop)) if drop is not None else None
    found = await stage.lateness(Stream(first, int(options.rate * options.seconds), ["org_new"], options.rate))
    if dropping is not None:
        found["dropped_after_seconds"] = await dropping
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return {**found, "longest_wait_ms": round(max(waits_ms), 1), "asked": len(waits_ms)}


async def _dropping(stage: Stage, drop: Callable[[], Awaitable[None]]) -> float | None:
    """Start a worker, and end it once days are dropped; how long that took, or None if it took too long."""
    worker = await stage.start_worker()
    started = time.monotonic()
    try:
        async with asyncio.timeout(stage.patience_seconds):
            await drop()
    except TimeoutError:
        return None
    finally:
        await worker.end()
    return round(time.monotonic() - started, 1)


@asynccontextmanager
async def _reader(stage: Stage) -> AsyncIterator[None]:
    """A report that reads every day, and stays in its transaction."""
    connection = await asyncpg.connect(stage.database_url)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            for table in PARTITIONED:
                await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - names of ours
            yield
    finally:
        await connection.close()


async def _watch(stage: Stage, waits_ms: list[float]) -> None:
    connection = await asyncpg.connect(stage.database_url)
    try:
        while True:
            waits_ms.append(await connection.fetchval(WAITS))
            await asyncio.sleep(ASK_SECONDS)
    finally:
        await connection.close()
