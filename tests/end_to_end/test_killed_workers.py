"""Workers killed with SIGKILL, at every point where it could matter and at random ones: nothing may be lost."""

import asyncio
import logging
import random
import signal

import pytest

from tests.end_to_end.crashing_worker import POINTS
from tests.end_to_end.town import IN_FLIGHT_MAX, Town

log = logging.getLogger(__name__)

pytestmark = pytest.mark.timeout(60)

# Which time it gets there is the last. Settles and claims come in any size; batches of intake are kept small.
LAST_TIME = {"before the commit": 3, "after the commit, before the ack": 3, "during the post": 12}


async def judged(town: Town, *, kills: int) -> None:
    """Wait for the end and see that all is well, but for as many duplicates as may be."""
    await town.all_ended(within=40)
    found = await town.judge()
    assert not found.wrong(), found.wrong() + town.told()
    allowed = kills * IN_FLIGHT_MAX
    assert len(found.duplicates) <= allowed, f"more than {allowed} duplicates: {found.duplicates}"
    requests = len(town.ledger.lines())
    log.info(
        "%s events, %s requests, %s kills: %s duplicates", len(town.published), requests, kills, len(found.duplicates)
    )


@pytest.mark.parametrize("point", POINTS)
async def test_a_worker_killed_at_this_point_loses_nothing(town: Town, point: str) -> None:
    await town.add_endpoint("/ok/all")
    await town.add_endpoint("/slow/some", "message.sent")
    await town.add_endpoint("/fail-twice/some", "link.clicked")
    await town.publish_numbers(range(100))
    count = LAST_TIME.get(point, 2)
    dying = await town.start_worker(
        "tests.end_to_end.crashing_worker", point, str(count), wait=False, POSTHORN_INTAKE_BATCH_MAX="10"
    )
    assert await dying.ended() == -signal.SIGKILL, dying.said()
    await town.start_worker()
    await judged(town, kills=1)


@pytest.mark.parametrize("seed", [1, 2])
async def test_workers_killed_at_random_lose_nothing(town: Town, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same kills every time, as far as the moment is ours to choose
    events, kills = 300, 6
    await town.add_endpoint("/ok/all")
    await town.add_endpoint("/slow/some", "message.sent")
    await town.add_endpoint("/fail-twice/some", "link.clicked")
    workers = [await town.start_worker() for _ in range(3)]

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
            workers[place] = await town.start_worker(wait=False)

    await asyncio.gather(publish(), kill())
    await judged(town, kills=kills)
