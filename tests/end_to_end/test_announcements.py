"""Deliveries that die, and workers that are killed while they announce it: each death is told, and told once."""

import signal

import pytest

from tests.end_to_end.crashing_worker import ANNOUNCING
from tests.end_to_end.town import Town
from tests.end_to_end.waiting import until

EVENTS = 40
WATCHING = "/ok/watching"


async def _publish(town: Town) -> None:
    await town.add_endpoint("/fail-twice/dying", "message.sent")
    await town.add_endpoint(WATCHING, "delivery.dead")
    await town.publish([town.event(number, "message.sent") for number in range(EVENTS)])


async def _all_told(town: Town) -> None:
    async def are_told() -> bool:
        return await town.final_count() == 2 * EVENTS and not await town.fan_out_count()

    await until(are_told, f"{EVENTS} deaths are told", told=town.told)
    told = [line for line in town.ledger.lines() if line.path == WATCHING]
    assert not [line.complaint for line in told if line.complaint], "each is signed"
    assert len({line.id for line in told}) == EVENTS
    assert len(told) == EVENTS, "nothing was in flight to the watching endpoint when the worker was killed"


async def test_each_dead_delivery_is_told_and_nothing_else(town: Town) -> None:
    await town.start_worker(POSTHORN_RETRY_ATTEMPTS_MAX="1")
    await _publish(town)
    await _all_told(town)


@pytest.mark.parametrize("point", ["in the settle", "after the settle", *ANNOUNCING])
async def test_a_worker_killed_while_it_announces_loses_nothing(town: Town, point: str) -> None:
    await _publish(town)
    dying = await town.start_worker(
        "tests.end_to_end.crashing_worker", point, "1", wait=False, POSTHORN_RETRY_ATTEMPTS_MAX="1"
    )
    assert await dying.ended() == -signal.SIGKILL, dying.said()
    await town.end_leases(dying)
    await town.start_worker(POSTHORN_RETRY_ATTEMPTS_MAX="1")
    await _all_told(town)
