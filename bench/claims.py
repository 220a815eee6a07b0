"""How long a claim of 100 takes as the backlog grows: ``python -m bench.claims``.

Fills ``open_deliveries`` of a new database with pending rows over 1,000 endpoints, and times ``claim_due``.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import asyncpg

from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.partitions import first_uid_of
from service.adapters.postgres.schema import migrate_schema
from service.core.deliveries.fairness.fair_share import Turn, fair_shares
from service.core.deliveries.settlement import Release, Settled

DATABASE = "posthorn_bench_claims"
ENDPOINTS = 1_000
CLAIM = 100

SEED = f"""
INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id, event_type, state,
                             claims_made)
SELECT $1, n, 'o', 'ep_' || to_char(n % {ENDPOINTS}, 'FM0000'), 'e', 'message.sent', 'pending', 0
  FROM generate_series($2::bigint, $3::bigint) AS n
"""  # noqa: S608 - a constant of this module


async def main(backlogs: list[int], admin_url: str) -> None:
    """Measure at each size of the backlog in turn."""
    admin = await asyncpg.connect(admin_url)
    await admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    await admin.execute(f"CREATE DATABASE {DATABASE}")
    url = admin_url.rpartition("/")[0] + "/" + DATABASE
    await migrate_schema(url)
    engine = connect(url, command_timeout_seconds=600)
    store = PostgresDeliveryStore(engine, worker_name="bench", lease_seconds=60)
    uid = first_uid_of(datetime.now(UTC))
    async with driver(engine) as connection:
        await connection.execute("INSERT INTO organizations (id) VALUES ('o')")
        await connection.execute(
            """INSERT INTO events (uid, organization_id, event_id, event_type, occurred_at, is_test, body)
               VALUES ($1, 'o', 'e', 'message.sent', now(), false, '{}')""",
            uid,
        )
    filled = 0
    print(f"{'backlog':>12}{'claim of 100, ms (median of 30)':>34}{'empty claim, ms':>18}")
    for backlog in sorted(backlogs):
        async with driver(engine) as connection:
            await connection.execute(SEED, uid, filled + 1, backlog)
            await connection.execute("VACUUM ANALYZE open_deliveries")
        filled = backlog
        print(
            f"{backlog:>12}{await _median_ms(store, 'some'):>34.2f}{await _median_ms(store, 'none'):>18.2f}", flush=True
        )
    await engine.dispose()
    await admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")
    await admin.close()


async def _median_ms(store: PostgresDeliveryStore, kind: str) -> float:
    def shares(turns: Sequence[Turn]) -> Mapping[str, int]:
        return fair_shares(turns, limit=CLAIM, per_endpoint_limit=10) if kind == "some" else {}

    times = []
    for _ in range(30):
        started = time.perf_counter()
        claims = await store.claim_due(shares)
        times.append((time.perf_counter() - started) * 1000)
        assert len(claims) == (CLAIM if kind == "some" else 0)
        if claims:
            await store.settle([Settled(each.delivery, each.claim_number, Release(), None) for each in claims])
    return statistics.median(times)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--database-url", default="postgresql://postgres@127.0.0.1:5432/postgres")
    options = parser.parse_args()
    asyncio.run(main(options.backlog, options.database_url))
