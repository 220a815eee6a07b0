"""Twenty thousand organizations, each with an endpoint, and events spread over all of them.

First a full queue, as fast as it goes; then a fixed rate.
"""

import argparse
from typing import Any

from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream

FULL_FIRST, RATE_FIRST = 10_000_000, 20_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--organizations", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=40_000, help="in the full queue")
    parser.add_argument("--rate", type=float, default=200, help="events per second afterwards")
    parser.add_argument("--seconds", type=float, default=15, help="how long that rate lasts")


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """As fast as it goes, then at a rate."""
    names = [f"org_{number}" for number in range(options.organizations)]
    await stage.add([Organization(name, [stage.receiver.url("ok", name)]) for name in names])
    worker = await stage.start_worker()
    idle_mib = worker.peak_mib()
    full = Stream(FULL_FIRST, options.events, names)
    async with worker.pulse() as loop_ms:
        await (await stage.publish(full)).sent()
        await stage.receiver.until_count(options.events, stage.patience_seconds)
        at = sorted(first for first, *_ in stage.receiver.by_number.values())
        numbers = int(options.rate * options.seconds)
        steady = await stage.lateness(Stream(RATE_FIRST, numbers, names, options.rate))
    return {
        "full_deliveries": len(at),
        "full_deliveries_per_second": round(len(at) / ((at[-1] - at[0]) / 1e9), 1),
        "at_a_rate": steady,
        "attempts_by_reason": await stage.attempts_by_reason(),
        "idle_mib": idle_mib,
        **await worker.state(loop_ms),
    }
