"""Faults of the network: what is between the workers and a server is slow, resets connections, or swallows all."""

import asyncio
from collections.abc import Sequence

from bench.soak.blows import Blow, Repeats
from bench.soak.site import Site
from tests.contract.relay import Relay

DELAY_SECONDS = 0.3
DELAYS = 12
RESETS = 3
RESET_SECONDS = 0.5
HOLE_SECONDS = 7.0
INSTANT_SECONDS = 0.02

ENDS = ("returns", "is reset", "is forgotten")


async def delay(site: Site, blow: Blow) -> None:
    """Hold every byte for up to ``DELAY_SECONDS``, again and again."""
    ways = _chosen(site, blow)
    try:
        for _ in range(DELAYS):
            for way in ways:
                way.sink()
            await asyncio.sleep(DELAY_SECONDS)
            for way in ways:
                way.flow()
            await asyncio.sleep(INSTANT_SECONDS)
    finally:
        for way in ways:
            way.flow()


async def reset(site: Site, blow: Blow) -> None:
    """Break every connection, some times in a row."""
    ways = _chosen(site, blow)
    for _ in range(RESETS):
        for way in ways:
            way.cut()
        await asyncio.sleep(RESET_SECONDS)


async def black_hole(site: Site, blow: Blow) -> None:
    """Let nothing through, without a word; what was sent meanwhile arrives at last, or never does."""
    ways, end = _chosen(site, blow), site.chance.choice(ENDS)
    blow.detail += f", what it swallowed {end}"
    try:
        for way in ways:
            way.sink()
        await asyncio.sleep(HOLE_SECONDS)
    finally:
        for way in ways:
            if end == "is reset":
                way.cut()
            if end == "is forgotten":
                way.strand()
            way.flow()


def _chosen(site: Site, blow: Blow) -> Sequence[Relay]:
    """The ways to one of the servers: of one worker, or of all."""
    name = site.chance.choice(("database", "broker", "receivers"))
    slots = site.chance.choice((site.slots, [site.any_slot()]))
    blow.detail = f"{name} of {'all workers' if len(slots) > 1 or name == 'receivers' else f'worker {slots[0].number}'}"
    if name == "broker":
        blow.repeats = Repeats.NOTHING  # what is sent is known to the database
    if name == "receivers":
        return [site.receivers]
    return [slot.database if name == "database" else slot.broker for slot in slots]
