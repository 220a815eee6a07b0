"""An organization whose directory changes many times a second, while it and others get events.

The changes are requests to the API, of the same process as the worker; each makes every copy of the directory stale.
"""

import argparse
import asyncio
from typing import Any

from bench.limits.callers import Caller
from bench.limits.latency import lateness, summary
from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream

CHANGED_FIRST, OTHERS_FIRST, IDLE_FIRST = 10_000_000, 20_000_000, 30_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--changes", type=float, default=20, help="changes per second")
    parser.add_argument("--subscriptions", type=int, default=200, help="of the organization that changes")
    parser.add_argument("--others", type=int, default=20, help="organizations beside it")
    parser.add_argument("--rate", type=float, default=20, help="events per second of it, and as many of the others")
    parser.add_argument("--seconds", type=float, default=20, help="how long it is measured, without changes and with")


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """Without changes first, then with them."""
    url, others = stage.receiver.url, [f"org_{number}" for number in range(options.others)]
    quiet = [url("ok", f"quiet-{number}") for number in range(options.subscriptions - 1)]
    await stage.add([Organization("org_changed", [url("ok", "changed")])])
    await stage.add([Organization("org_changed", quiet)], event_type="message.failed")
    await stage.add([Organization(name, [url("ok", name)]) for name in others])
    worker = await stage.start_worker("--role", "all", environ={"POSTHORN_RATE_LIMIT_PER_HOUR": "1000000"})
    caller = Caller(worker.http_port, await stage.key_of("org_changed"))
    endpoint = (await caller.ask("GET", "/v1/endpoints?limit=1"))["data"][0]["id"]
    count = int(options.rate * options.seconds)
    idle = await _both(stage, IDLE_FIRST, IDLE_FIRST + count, count, others, options.rate)
    changing = asyncio.create_task(caller.repeat(options.changes, f"/v1/endpoints/{endpoint}"))
    async with worker.pulse() as loop_ms:
        beside = await _both(stage, CHANGED_FIRST, OTHERS_FIRST, count, others, options.rate)
    changing.cancel()
    await asyncio.wait([changing])
    return {
        "idle": idle,
        "beside": beside,
        "changes": summary(caller.took_ms),
        "refused_changes": caller.refused,
        "attempts_by_reason": await stage.attempts_by_reason(),
        **await worker.state(loop_ms),
    }


async def _both(
    stage: Stage, changed_first: int, others_first: int, count: int, others: list[str], rate: float
) -> dict[str, Any]:
    changed = Stream(changed_first, count, ["org_changed"], rate)
    neighbours = Stream(others_first, count, others, rate)
    sent = (await (await stage.publish(changed, neighbours)).sent()).by_number()
    await stage.receiver.until([*changed.numbers, *neighbours.numbers], stage.patience_seconds)
    arrived = await stage.receiver.fetch()
    return {
        "changed": lateness(changed.numbers, sent, arrived),
        "others": lateness(neighbours.numbers, sent, arrived),
    }
