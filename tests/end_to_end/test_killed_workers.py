"""Workers killed with SIGKILL, at every point where it could matter and at random ones: nothing may be lost."""

import asyncio
import logging
import random
import signal

import pytest

from tests.end_to_end.crashing_worker import POINTS
from tests.end_to_end.town import IN_FLIGHT_MAX, Town

log = logging.getLogger(__name__)

# Which time it gets there is the last. Settles and claims come in any size; batches of intake are kept small.
LAST_TIME = {
    "before the commit": 3,
    "after the commit, before anybody knows": 3,
    "after the commit, before the ack": 3,
    "during the post": 12,
}

LEASES_END_BY_THEMSELVES = {"after the claim", "during the post"}


async def judged(town: Town, kills: int, held: set[str]) -> None:
    """Wait for the end and see that all is well; only what a worker held when it was killed may have come again."""
    await town.all_ended()
    found = await town.judge()
    assert not found.wrong(), found.wrong() + town.told()
    came_again = set(found.duplicates)
    assert came_again <= held, f"came again though no killed worker held them: {sorted(came_again - held)}"
    allowed = kills * 2 * IN_FLIGHT_MAX  # in flight, or answered and not committed yet
    assert len(found.duplicates) <= allowed, f"more than {allowed} duplicates: {sorted(found.duplicates)}"
    told = "%s events, %s requests, %s kills: %s held, %s duplicates"
    log.info(told, len(town.published), len(town.ledger.lines()), kills, len(held), len(found.duplicates))


@pytest.mark.parametrize("point", POINTS)
async def test_a_worker_killed_at_this_point_loses_nothing(town: Town, point: str) -> None:
    await town.add_endpoint("/ok/all")
    await town.add_endpoint("/slow/some", "message.sent")
    await town.add_endpoint("/fail-twice/some", "link.clicked")
    await town.publish_numbers(range(100))
    count = LAST_TIME.get(point, 2)
    dying = await town.start_worker(
        *("tests.end_to_end.crashing_worker", point, str(count)),
        wait=False,
        POSTHORN_INTAKE_BATCH_MAX="10",
        POSTHORN_ATTEMPT_TIMEOUT_SECONDS="3",
        POSTHORN_LEASE_SECONDS="6",
    )
    assert await dying.ended() == -signal.SIGKILL, dying.said()
    held = await town.leased_by(dying)
    if point not in LEASES_END_BY_THEMSELVES:
        await town.end_leases(dying)
    await town.start_worker()
    await judged(town, 1, held)


@pytest.mark.parametrize("seed", [1, 2])
async def test_workers_killed_at_random_lose_nothing(town: Town, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same kills every time, as far as the moment is ours to choose
    events, kills = 300, 6
    await town.add_endpoint("/ok/all")
    await town.add_endpoint("/slow/some", "message.sent")
    await town.add_endpoint("/fail-twice/some", "link.clicked")
    workers = [await town.start_worker() for _ in range(3)]
    held: set[str] = set()

    async def publish() -> None:
        for start in range(0, events, 10):
            # A steady flow of 18 requests for every 10 events, never far ahead, so that every kill finds them busy.
            await town.requests_came(int(1.8 * start) - 100)
            await town.publish_numbers(range(start, start + 10))

    async def kill() -> None:
        for moment in sorted(chance.sample(range(20, int(1.6 * events)), kills)):
            await town.requests_came(moment)
            place = chance.randrange(len(workers))
            workers[place].kill()
            held.update(await town.leased_by(workers[place]))
            await town.end_leases(workers[place])
            workers[place] = await town.start_worker(wait=False)

    await asyncio.gather(publish(), kill())
    await judged(town, kills, held)
