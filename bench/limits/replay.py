"""A replay of a hundred thousand deliveries to one endpoint, while new events of that endpoint and of others come.

The deliveries are written into the database as dead; the job is made with the command line.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import asyncpg

from bench.limits.backlog import NEW_FIRST, OWN_FIRST, PREFIX, SEED
from bench.limits.latency import by_second, lateness
from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream
from bench.limits.worker import Worker
from bench.publisher import EVENT_TYPE

IDLE_FIRST = 30_000_000
OWNER, OTHER = "org_back_0", "org_new"
SAMPLE_SECONDS = 0.5
DEAD = """
INSERT INTO final_deliveries (event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id,
                              event_type, state, reason, last_status, created_at, claims_made, attempts_made)
SELECT e.uid, s.id, 0, e.organization_id, s.endpoint_id, e.event_id, e.event_type, 'dead', 'attempts_exhausted', 503,
       now(), 12, 12
  FROM events e JOIN subscriptions s USING (organization_id) WHERE e.organization_id = $1
"""
OPEN = """
SELECT count(*) FROM replay_made JOIN open_deliveries USING (event_uid, subscription_id, replay_number)
 WHERE job_id = $1
"""
TWICE = """
SELECT count(*) FROM (SELECT FROM final_deliveries WHERE organization_id = $1 AND replay_number > 0
                       GROUP BY event_uid, subscription_id HAVING count(*) > 1) AS twice
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--deliveries", type=int, default=100_000, help="deliveries that are replayed")
    parser.add_argument("--replay-rate", type=int, default=1_000, help="the job's rate, per second")
    parser.add_argument("--rate", type=float, default=50, help="new events per second, of others and of its own each")
    parser.add_argument("--idle-seconds", type=float, default=10, help="how long new events come before the replay")


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """New events first come alone, then beside the replay, for as long as its rate lets it take."""
    url = stage.receiver.url
    await stage.add([Organization(name, [url("ok", name)]) for name in (OWNER, OTHER)])
    await (await stage.start_worker()).end()  # it declares the queues, and makes the day's partitions
    await _seed(stage, options.deliveries)
    worker = await stage.start_worker()
    alone = int(options.rate * options.idle_seconds)
    idle = await stage.lateness(Stream(IDLE_FIRST, alone, [OWNER, OTHER], options.rate))
    count = int(options.rate * options.deliveries / options.replay_rate)
    new, own = Stream(NEW_FIRST, count, [OTHER], options.rate), Stream(OWN_FIRST, count, [OWNER], options.rate)
    resident: list[float] = [worker.resident_mib()]
    sampling = asyncio.create_task(_sample(worker, resident))
    async with worker.pulse() as loop_ms:
        job_id = await _begin(stage, options.replay_rate)
        began_at = time.monotonic()
        publishing = await stage.publish(new, own)
        shown, open_most = await _until_done(stage, job_id)
        took_seconds = time.monotonic() - began_at
        sent = (await publishing.sent()).by_number()
        replayed = range(1, options.deliveries + 1)
        await stage.receiver.until([*new.numbers, *own.numbers, *replayed], stage.patience_seconds)
    sampling.cancel()
    arrived = await stage.receiver.fetch()
    return {
        "idle": idle,
        "new_of_others": lateness(new.numbers, sent, arrived)
        | {"p95_ms_by_second": by_second(new.numbers, sent, arrived)},
        "new_of_its_own": lateness(own.numbers, sent, arrived),
        "job": {name: shown[name] for name in ("state", "total_count", "created_count", "skipped")},
        "took_seconds_to_make_all": round(took_seconds, 1),
        "replayed": sum(number in arrived for number in replayed),
        "replayed_per_second": _pace(replayed, arrived),
        "extra": sum(len(arrived[number]) - 1 for number in replayed if number in arrived),
        "made_twice": (await stage.rows(TWICE, OWNER))[0][0],
        "open_most": open_most,
        "resident_mib": {"before": resident[0], "most": max(resident), "after": worker.resident_mib()},
        "attempts_by_reason": await stage.attempts_by_reason(),
        **await worker.state(loop_ms),
    }


async def _begin(stage: Stage, rate: int) -> str:
    arguments = ("replays", "create", "--organization", OWNER, "--event-type", EVENT_TYPE, "--rate", str(rate))
    job_id: str = json.loads(await stage.command(*arguments, "--json"))["id"]
    return job_id


async def _until_done(stage: Stage, job_id: str) -> tuple[Any, int]:
    """The job once it has ended, or makes nothing for long; and the most of its deliveries that were open at once."""
    shown: Any = None
    made, open_most = -1, 0
    ends_at = time.monotonic() + stage.patience_seconds
    connection = await asyncpg.connect(stage.database_url)
    try:
        while time.monotonic() < ends_at:
            shown = await connection.fetchrow("SELECT * FROM replay_jobs WHERE id = $1", job_id)
            opened = await connection.fetchval(OPEN, job_id)
            open_most = max(open_most, opened)
            if shown["ended_at"] is not None:
                break
            if shown["created_count"] > made:
                made, ends_at = shown["created_count"], time.monotonic() + stage.patience_seconds
            await asyncio.sleep(SAMPLE_SECONDS)
    finally:
        await connection.close()
    skipped = sum(shown[f"{each}_count"] for each in ("superseded", "subscription_removed", "event_dropped"))
    return {**shown, "skipped": skipped}, open_most


async def _sample(worker: Worker, resident: list[float]) -> None:
    while True:
        resident.append(worker.resident_mib())
        await asyncio.sleep(SAMPLE_SECONDS)


def _pace(numbers: Collection[int], arrived: Mapping[int, Sequence[int]]) -> float | None:
    at = sorted(arrived[number][0] for number in numbers if number in arrived)
    seconds = (at[-1] - at[0]) / 1e9 if at else 0
    return round(len(at) / seconds, 1) if seconds else None


async def _seed(stage: Stage, deliveries: int) -> None:
    connection = await asyncpg.connect(stage.database_url)
    try:
        await connection.execute(SEED, deliveries, PREFIX, EVENT_TYPE, 1, timeout=600)
        await connection.execute(DEAD, OWNER, timeout=600)
        await connection.execute("VACUUM ANALYZE final_deliveries, events", timeout=600)
    finally:
        await connection.close()
