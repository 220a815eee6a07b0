"""What counting costs: PostgreSQL's CPU time for each ended delivery, and for the index that finds them.

    python -m bench.counting --database-url postgresql://…/seeded

The database must have been filled by bench.seed, on this machine: CPU time is read from /proc, so that whatever else
runs here does not matter. Its counts are made anew.
"""

import argparse
import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.stats.counting import PostgresCountStore
from service.flow.upkeep.counting import COUNT_BATCH_MAX

INSERTED: Final = 100_000
BATCH: Final = 100
"""Deliveries that end in one commit; a busy worker settles some dozens at a time."""

_INSERT: Final = """
INSERT INTO ended (event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type, state,
                   created_at, ended_at, claims_made, attempts_made)
SELECT gen_random_uuid(), n, 0, 'org', 'ep_' || n % 40, 'evt_' || n, 'message.sent', 'delivered', now(),
       clock_timestamp(), 1, 1 FROM generate_series(1, $1::int) n
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """How long something took, and how much CPU time of PostgreSQL."""

    seconds: float
    cpu_seconds: float


class Meter:
    """Reads the CPU time of one connection's backend."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/stat")
        self._began_at, self._cpu = time.perf_counter(), self._read()

    def cost(self) -> Cost:
        """Since this was made."""
        return Cost(time.perf_counter() - self._began_at, self._read() - self._cpu)

    def _read(self) -> float:
        fields = self._path.read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def count_all(engine: AsyncEngine) -> None:
    """Count all deliveries, in steps as a worker takes them."""
    async with driver(engine) as connection:
        await connection.execute("TRUNCATE delivery_counts, healed_counts, counts_progress")
        pid = await connection.fetchval("SELECT pg_backend_pid()")
    store, counted, longest, steps = PostgresCountStore(engine), 0, 0.0, 0
    await store.count_on(COUNT_BATCH_MAX)
    meter, is_behind = Meter(pid), True
    while is_behind:
        began_at = time.perf_counter()
        step = await store.count_back(COUNT_BATCH_MAX)
        longest = max(longest, time.perf_counter() - began_at)
        counted, is_behind, steps = counted + step.counted, step.is_behind, steps + 1
    cost = meter.cost()
    cpu_us = cost.cpu_seconds / counted * 1e6
    print(f"{counted:,} deliveries in {steps} steps: {cpu_us:.1f} us of CPU each; the longest step {longest:.2f} s")


async def insert_some(connection: asyncpg.Connection, *, has_index: bool) -> Cost:
    """Insert ended deliveries into a day of their own, with the index on their end or without."""
    await connection.execute("CREATE TEMP TABLE ended (LIKE final_deliveries INCLUDING ALL)")
    if not has_index:
        await connection.execute("DROP INDEX pg_temp.ended_ended_at_idx")
    meter = Meter(await connection.fetchval("SELECT pg_backend_pid()"))
    for _ in range(INSERTED // BATCH):
        await connection.execute(_INSERT, BATCH)
    cost = meter.cost()
    await connection.execute("DROP TABLE ended")
    return cost


async def measure(url: str) -> None:
    """Measure both."""
    engine = connect(url, pool_size=1)
    async with driver(engine) as connection:
        for has_index in (False, True, False, True):
            cost = await insert_some(connection, has_index=has_index)
            told = "with" if has_index else "without"
            print(f"an ended delivery inserted {told} the index: {cost.cpu_seconds / INSERTED * 1e6:.1f} us of CPU")
    await count_all(engine)
    await engine.dispose()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", required=True)
    asyncio.run(measure(parser.parse_args().database_url))


if __name__ == "__main__":
    main()
