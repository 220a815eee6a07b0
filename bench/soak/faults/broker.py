"""Faults of the broker: the node restarted, the queue deleted."""

import asyncio

import aiormq

from bench.soak.blows import Blow, NotStruckError
from bench.soak.site import POLL_SECONDS, Site

EMPTY_SECONDS_MAX = 30.0


async def restart(site: Site, blow: Blow) -> None:
    """Stop or kill the node, and start it again on what it kept."""
    node, is_killed = site.broker.node, site.chance.random() < 0.5  # noqa: PLR2004
    assert node is not None
    blow.detail = "killed" if is_killed else "in good order"
    await (node.crash() if is_killed else node.stop())
    await node.start()


async def delete_queue(site: Site, blow: Blow) -> None:
    """Delete the intake queue when nothing is in it: what a deleted queue held, nobody can know of."""
    await site.traffic.hold()
    try:
        try:
            async with asyncio.timeout(EMPTY_SECONDS_MAX):
                while await site.recorded_count() < len(site.traffic.confirmed):  # noqa: ASYNC110 - nobody tells of it
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise NotStruckError(f"the queue was not empty within {EMPTY_SECONDS_MAX:g} s") from None
        blow.detail = site.town.topology.intake_queue
        async with aiormq.connect(site.broker.url) as connection:
            channel = await connection.channel()
            await channel.queue_delete(site.town.topology.intake_queue)
    finally:
        site.traffic.go_on()
