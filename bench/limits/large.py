"""Large events, many of them waiting: how much memory a worker takes for them, and how late its neighbours are.

Some are larger than an event may be, and are parked; the others are just small enough.
"""

import argparse
from typing import Any

from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream

SMALL_FIRST, HUGE_FIRST, LARGE_FIRST = 10_000_000, 20_000_000, 30_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--huge", type=int, default=24, help="events that are too large")
    parser.add_argument("--huge-bytes", type=int, default=15 << 20)
    parser.add_argument("--large", type=int, default=1_500, help="events that are not quite too large")
    parser.add_argument("--large-bytes", type=int, default=250_000)
    parser.add_argument("--rate", type=float, default=20, help="the neighbour's events per second")
    parser.add_argument("--seconds", type=float, default=20, help="how long the neighbour publishes")


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """The queue is filled before the worker starts; the neighbour begins when it is ready."""
    await stage.add([Organization(name, [stage.receiver.url("ok", name)]) for name in ("org_large", "org_small")])
    warm = await stage.start_worker()  # it declares the queues
    idle_mib = warm.peak_mib()
    await warm.end()
    large = Stream(LARGE_FIRST, options.large, ["org_large"], size_bytes=options.large_bytes)
    huge = Stream(HUGE_FIRST, options.huge, ["org_large"], size_bytes=options.huge_bytes)
    await (await stage.publish(huge, large)).sent()
    worker = await stage.start_worker()
    async with worker.pulse() as loop_ms:
        count = int(options.rate * options.seconds)
        neighbour = await stage.lateness(Stream(SMALL_FIRST, count, ["org_small"], options.rate))
        await stage.receiver.until(large.numbers, stage.patience_seconds)
        left = await stage.until_parked(options.huge)
    return {
        "neighbour": neighbour,
        "large_arrived": sum(number in stage.receiver.by_number for number in large.numbers),
        "parked_by_reason": await stage.parked(),
        "left_in_the_queue": left,
        "idle_mib": idle_mib,
        **await worker.state(loop_ms),
    }
