"""Messages with properties that a consumer cannot decode, among good events of several organizations.

The good ones are published at a rate; the poison of each kind is spread among them.
"""

import argparse
from typing import Any

from bench.limits.messages import POISON
from bench.limits.stage import Stage
from bench.limits.tenants import Organization
from bench.limits.traffic import Stream

GOOD_FIRST, POISON_FIRST = 10_000_000, 20_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be chosen."""
    parser.add_argument("--kind", choices=("all", *POISON), default="all", help="what is wrong with the poison")
    parser.add_argument("--good", type=int, default=300, help="good events")
    parser.add_argument("--rate", type=float, default=30, help="good events per second")
    parser.add_argument("--copies", type=int, default=2, help="poison messages of each kind")
    parser.add_argument("--organizations", type=int, default=5)


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """How many good ones arrive, how late, and what became of the poison."""
    names = [f"org_{number}" for number in range(options.organizations)]
    await stage.add([Organization(name, [stage.receiver.url("ok", name)]) for name in names])
    worker = await stage.start_worker()
    kinds = list(POISON) if options.kind == "all" else [options.kind]
    seconds = options.good / options.rate
    apart = seconds / (len(kinds) * options.copies + 1)
    poison = [
        Stream(POISON_FIRST + number, 1, names, after_seconds=apart * (number + 1), poison=kinds[number % len(kinds)])
        for number in range(len(kinds) * options.copies)
    ]
    async with worker.pulse() as loop_ms:
        good = await stage.lateness(Stream(GOOD_FIRST, options.good, names, options.rate), *poison)
        left = await stage.until_parked(len(poison))
    return {
        "good": good,
        "poison": len(poison),
        "poison_that_arrived": sum(number >= POISON_FIRST for number in stage.receiver.by_number),
        "parked_by_reason": await stage.parked(),
        "left_in_the_queue": left,
        **await worker.state(loop_ms),
    }
