"""Events of an organization with thousands of subscriptions, queued, beside a small organization.

Each event of the wide organization becomes a delivery to every one of its endpoints.
"""

import argparse
from typing import Any

from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream

SMALL_FIRST, WIDE_FIRST = 10_000_000, 20_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--subscriptions", type=int, default=10_000, help="of the wide organization")
    parser.add_argument("--events", type=int, default=200, help="of the wide organization, all of them queued at first")
    parser.add_argument("--rate", type=float, default=20, help="the small organization's events per second")
    parser.add_argument("--until-all", action="store_true", help="wait for the wide organization's deliveries, too")
    parser.add_argument("--seconds", type=float, default=60, help="how long the small organization publishes")


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """The small organization publishes from the moment the wide one's events are queued."""
    url = stage.receiver.url
    wide = Organization("org_wide", [url("ok", f"wide-{number}") for number in range(options.subscriptions)])
    await stage.add([wide, Organization("org_small", [url("ok", "small")])])
    worker = await stage.start_worker()
    small = Stream(SMALL_FIRST, int(options.rate * options.seconds), ["org_small"], options.rate)
    queued = Stream(WIDE_FIRST, options.events, ["org_wide"])
    async with worker.pulse() as loop_ms:
        neighbour = await stage.lateness(small, queued)
        wanted = options.events * options.subscriptions + small.count
        await stage.receiver.until_count(wanted, options.until_all and stage.patience_seconds)
    arrived = await stage.receiver.fetch()
    sent = sum(len(at) for number, at in arrived.items() if number in queued.numbers)
    first_ns = min(at[0] for at in arrived.values())
    last_ns = max(at[-1] for at in arrived.values())
    doubled = sum(max(0, len(at) - options.subscriptions) for number, at in arrived.items() if number in queued.numbers)
    return {
        "neighbour": neighbour,
        "wide_deliveries": sent,
        "wide_deliveries_per_second": round(sent / max(1e-3, (last_ns - first_ns) / 1e9), 1),
        "wide_duplicates": doubled,
        "attempts_by_reason": await stage.attempts_by_reason(),
        **await worker.state(loop_ms),
    }
