"""Healthy endpoints beside endpoints that hang, drip, answer late, or are black-holed.

The healthy traffic runs three times on the same worker: alone, beside as many further endpoints that answer, and beside
the ill ones. The second run is what the further events cost by themselves. Further endpoints first get one event each,
at ``--onset-rate``, and then more at ``--bad-rate``; the healthy events are measured from the first second on.
"""

import argparse
from typing import Any

from bench.limits.latency import ratio
from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream

LEASE_MARGIN_SECONDS = 45
HEALTHY_FIRST, ILL_FIRST, WARM_UP_FIRST, MORE_FIRST = 10_000_000, 20_000_000, 30_000_000, 40_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--bad", choices=("hung", "black", "drip", "slow"), default="hung")
    parser.add_argument(
        "--count", type=int, default=50, help="ill endpoints, each of an organization and a host of its own"
    )
    parser.add_argument(
        "--healthy", type=int, default=100, help="healthy endpoints, each of an organization and a host of its own"
    )
    parser.add_argument("--rate", type=float, default=100, help="events per second for all the healthy ones together")
    parser.add_argument("--bad-rate", type=float, default=0, help="events per second for the ill ones; 0: as --rate")
    parser.add_argument("--onset-rate", type=float, default=100, help="how many endpoints fall ill per second")
    parser.add_argument("--timeout", type=float, default=15, help="the timeout of an attempt, in seconds")
    parser.add_argument("--in-flight", type=int, default=512, help="attempts that may be in flight")
    parser.add_argument("--seconds", type=float, default=20, help="how long each of the two runs publishes")


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """Alone, beside as many that answer, and beside the ill ones, on the same worker."""
    healthy = [f"org_healthy_{number}" for number in range(options.healthy)]
    more = [f"org_more_{number}" for number in range(options.count)]
    ill = [f"org_ill_{number}" for number in range(options.count)]
    for behaviour, names, host_first in (("ok", healthy, 1), ("ok", more, 1 + len(healthy)), (options.bad, ill, 1)):
        urls = [stage.receiver.url(behaviour, name, host) for host, name in enumerate(names, host_first)]
        await stage.add([Organization(name, [url]) for name, url in zip(names, urls, strict=True)])
    worker = await stage.start_worker(
        environ={
            "POSTHORN_ATTEMPT_TIMEOUT_SECONDS": f"{options.timeout:g}",
            "POSTHORN_LEASE_SECONDS": f"{options.timeout + LEASE_MARGIN_SECONDS:g}",
            "POSTHORN_IN_FLIGHT_MAX": str(options.in_flight),
        }
    )
    onset_seconds, bad_rate = options.count / options.onset_rate, options.bad_rate or options.rate
    alone_count = int(options.rate * options.seconds)
    beside_count = alone_count + int(options.rate * onset_seconds)

    async def beside(further: list[str], first: int, healthy_first: int) -> dict[str, Any]:
        onset = Stream(first, len(further), further, options.onset_rate)
        then = Stream(first + len(further), int(bad_rate * options.seconds), further, bad_rate, onset_seconds)
        return await stage.lateness(Stream(healthy_first, beside_count, healthy, options.rate), onset, then)

    await stage.lateness(Stream(WARM_UP_FIRST, len(healthy), healthy, options.rate))
    idle = await stage.lateness(Stream(HEALTHY_FIRST, alone_count, healthy, options.rate))
    beside_more = await beside(more, MORE_FIRST, HEALTHY_FIRST + alone_count)
    async with worker.pulse() as loop_ms:
        beside_ill = await beside(ill, ILL_FIRST, HEALTHY_FIRST + alone_count + beside_count)
    arrived = await stage.receiver.fetch()
    return {
        "idle": idle,
        "beside_as_many_healthy": beside_more,
        "beside": beside_ill,
        **{f"ratio_{part}": ratio(beside_ill, idle, f"{part}_ms") for part in ("p50", "p95")},
        **{f"ratio_{part}_to_healthy": ratio(beside_ill, beside_more, f"{part}_ms") for part in ("p50", "p95")},
        "ill_events": options.count + int(bad_rate * options.seconds),
        "ill_arrivals": sum(len(at) for number, at in arrived.items() if number in range(ILL_FIRST, WARM_UP_FIRST)),
        "attempts_by_reason": await stage.attempts_by_reason(),
        **await worker.state(loop_ms),
    }
