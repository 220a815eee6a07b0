"""Memory by process after two hundred thousand deliveries, and what they leave behind in the database.

The queue is kept full; each event goes to several endpoints.
"""

import argparse
import asyncio
from typing import Any

from bench.figures import Processes
from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream

FIRST = 10_000_000
COUNTERS_SECONDS = 1.5  # PostgreSQL publishes its counters once a second

TABLES = """
SELECT relname, n_live_tup, n_dead_tup, pg_total_relation_size(relid) AS bytes, pg_indexes_size(relid) AS index_bytes
  FROM pg_stat_user_tables WHERE relname IN ('open_deliveries', 'event_keys', 'gates')
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--deliveries", type=int, default=200_000)
    parser.add_argument("--fan-out", type=int, default=4, help="endpoints of each organization")
    parser.add_argument("--organizations", type=int, default=50)


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """Deliver everything, then look."""
    names = [f"org_{number}" for number in range(options.organizations)]
    url, copies = stage.receiver.url, range(options.fan_out)
    await stage.add([Organization(name, [url("ok", f"{name}/{copy}") for copy in copies]) for name in names])
    worker = await stage.start_worker()
    processes = Processes(worker.process.pid, stage.receiver.process_id, stage.name)
    before = processes.resident()
    events = options.deliveries // options.fan_out
    publishing = await stage.publish(Stream(FIRST, events, names))
    is_complete = await stage.receiver.until_count(events * options.fan_out, 2 * stage.patience_seconds)
    await publishing.sent()
    at = sorted(at for every in stage.receiver.by_number.values() for at in every)
    await asyncio.sleep(COUNTERS_SECONDS)
    return {
        "is_complete": is_complete,
        "deliveries": len(at),
        "deliveries_per_second": round(len(at) / ((at[-1] - at[0]) / 1e9), 1),
        "resident_mib_before": before,
        "resident_mib": processes.resident(),
        "tables": {row["relname"]: dict(list(row.items())[1:]) for row in await stage.rows(TABLES)},
        **await worker.state([]),
    }
