"""A directory with tens of thousands of subscriptions that is loaded again and again, beside a small organization.

Nearly all of its subscriptions are to another type of event, so that only the loading costs anything.
"""

import argparse
from typing import Any

from bench.limits.latency import ratio
from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream

IDLE_FIRST, SMALL_FIRST, BIG_FIRST = 10_000_000, 20_000_000, 30_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--subscriptions", type=int, default=50_000, help="of the big organization")
    parser.add_argument("--rate", type=float, default=50, help="the small organization's events per second")
    parser.add_argument("--seconds", type=float, default=15, help="how long it is measured, alone and beside")


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """Alone first; then beside the big organization, whose directory is loaded for an event of its own."""
    url = stage.receiver.url
    quiet = [url("ok", f"quiet-{number}") for number in range(options.subscriptions - 1)]
    await stage.add([Organization("org_big", quiet)], event_type="message.failed")
    await stage.add([Organization("org_big", [url("ok", "big")]), Organization("org_small", [url("ok", "small")])])
    worker = await stage.start_worker()
    count = int(options.rate * options.seconds)
    idle_mib = worker.peak_mib()
    idle = await stage.lateness(Stream(IDLE_FIRST, count, ["org_small"], options.rate))
    big = Stream(BIG_FIRST, 1, ["org_big"], after_seconds=options.seconds / 10)
    async with worker.pulse() as loop_ms:
        beside = await stage.lateness(Stream(SMALL_FIRST, count, ["org_small"], options.rate), big)
        await stage.receiver.until(big.numbers, options.seconds)
    return {
        "idle": idle,
        "beside": beside,
        **{f"ratio_{part}": ratio(beside, idle, f"{part}_ms") for part in ("p50", "p95", "max")},
        "big_arrived": sum(number in stage.receiver.by_number for number in big.numbers),
        "idle_mib": idle_mib,
        **await worker.state(loop_ms),
    }
