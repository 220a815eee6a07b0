"""A hundred thousand deliveries that are due, of a receiver that was down, when new events arrive.

The backlog is spread over one endpoint or many, each of an organization of its own; it is written into the database as
a worker would have left it after a first attempt.
"""

import argparse
import asyncio
from typing import Any

import asyncpg

from bench.limits.latency import by_second, lateness
from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream
from bench.publisher import EVENT_TYPE

NEW_FIRST, OWN_FIRST = 10_000_000, 20_000_000
PREFIX = "evt_bench_"

# $1 number of events, $2 what their ids begin with, $3 their type, $4 organizations
SEED = """
INSERT INTO events (uid, organization_id, event_id, event_type, occurred_at, is_test, body)
SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') || '7000b' || lpad(to_hex(n), 15, '0'))::uuid,
       'org_back_' || n % $4::bigint, $2::text || lpad(n::text, 10, '0'), $3::text, now(), false,
       convert_to(format('{"id":"%s%s","type":"%s","organization_id":"org_back_%s","data":{"padding":"%s"}}',
                         $2, lpad(n::text, 10, '0'), $3::text, n % $4::bigint, repeat('x', 800)), 'UTF8')
  FROM generate_series(1, $1::bigint) AS n
"""
DUE = """
INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id, event_type, state,
                             reason, last_status, claims_made, attempts_made, attempts_recorded)
SELECT e.uid, s.id, e.organization_id, s.endpoint_id, e.event_id, e.event_type, 'pending', 'http_status', 503, 1, 1, 1
  FROM events e JOIN subscriptions s USING (organization_id)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--backlog", type=int, default=100_000, help="deliveries that are due")
    parser.add_argument("--endpoints", type=int, default=1, help="endpoints they belong to")
    parser.add_argument("--rate", type=float, default=50, help="new events per second, of others and of its own each")
    parser.add_argument("--seconds", type=float, default=20, help="how long new events are published")


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """The worker starts with the backlog due; new events come at once."""
    url = stage.receiver.url
    back = [f"org_back_{number}" for number in range(options.endpoints)]
    await stage.add([Organization(name, [url("ok", name)]) for name in (*back, "org_new")])
    await (await stage.start_worker()).end()  # it declares the queues, and makes the day's partitions
    await _seed(stage, options.backlog, options.endpoints)
    count = int(options.rate * options.seconds)
    new, own = Stream(NEW_FIRST, count, ["org_new"], options.rate), Stream(OWN_FIRST, count, back, options.rate)
    worker = await stage.start_worker()
    async with worker.pulse() as loop_ms:
        sent = (await (await stage.publish(new, own)).sent()).by_number()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + stage.patience_seconds
        backlog = range(1, options.backlog + 1)
        await stage.receiver.until([*new.numbers, *own.numbers], stage.patience_seconds)
        await stage.receiver.until(backlog, ends_at - loop.time())
    arrived = await stage.receiver.fetch()
    drained = sorted(arrived[number][0] for number in backlog if number in arrived)
    took_seconds = (drained[-1] - drained[0]) / 1e9 if drained else 0
    return {
        "new_of_others": lateness(new.numbers, sent, arrived)
        | {"p95_ms_by_second": by_second(new.numbers, sent, arrived)},
        "new_of_its_own": lateness(own.numbers, sent, arrived),
        "drained": len(drained),
        "drained_per_second": round(len(drained) / took_seconds, 1) if took_seconds else None,
        "extra": sum(len(arrived[number]) - 1 for number in backlog if number in arrived),
        "attempts_by_reason": await stage.attempts_by_reason(),
        **await worker.state(loop_ms),
    }


async def _seed(stage: Stage, backlog: int, organizations: int) -> None:
    connection = await asyncpg.connect(stage.database_url)
    try:
        await connection.execute(SEED, backlog, PREFIX, EVENT_TYPE, organizations, timeout=60)
        await connection.execute(DUE, timeout=60)
        await connection.execute("VACUUM ANALYZE open_deliveries, events", timeout=60)
    finally:
        await connection.close()
