"""Workers that are lost with hundreds of deliveries in hand: none of those is blamed for it."""

import logging
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from tests.end_to_end.processes import Worker
from tests.end_to_end.town import IN_FLIGHT_MAX, Town
from tests.end_to_end.waiting import until

log = logging.getLogger(__name__)

IN_HAND = 400
WARM_UPS = (
    30  # events, after which a worker knows that its endpoints answer promptly, and holds many deliveries for them
)

# Nothing times out, however busy the machine is, and nothing counts as slow: a lease ends when the test says so.
PATIENT: dict[str, Any] = {
    "POSTHORN_ATTEMPT_TIMEOUT_SECONDS": "200",
    "POSTHORN_LEASE_SECONDS": "300",
    "POSTHORN_ENDPOINT_STALL_SECONDS": "200",
}


async def add_endpoints(town: Town, count: int) -> None:
    for number in range(count):
        await town.add_endpoint(f"/hang/{number}")


async def warm_up(town: Town, time: int = 0) -> None:
    """Have a worker see that its endpoints answer; then they hang."""
    town.receiver.answer()
    first = 1000 + time * WARM_UPS
    await town.publish_numbers(range(first, first + WARM_UPS))
    ended = (time + 1) * WARM_UPS * len(town.endpoints)
    await until(partial(_have_ended, town, ended), "the warm-up is over", told=town.told)
    town.receiver.hang()


async def _have_ended(town: Town, count: int) -> bool:
    return await town.final_count() == count


async def all_in_hand(town: Town, worker: Worker, requests: int) -> int:
    """Wait until this worker has every delivery in hand, and POSTs; returns how many are in flight.

    Those that wait for their time need not. To have rescued them is not enough, so more than ``requests`` must have come.
    """
    await until(partial(_holds_all, town, worker, requests), f"{IN_HAND} deliveries are in hand", told=town.told)
    return len(town.ledger.lines()) - requests


async def _holds_all(town: Town, worker: Worker, requests: int) -> bool:
    await town.hurry()
    return len(town.ledger.lines()) > requests and len(await town.leased_by(worker)) == IN_HAND


async def all_delivered(town: Town) -> None:
    await town.all_ended()
    found = await town.judge()
    assert not found.wrong(), found.wrong() + town.told()


async def killed_three_times(town: Town, start: Callable[[int], Awaitable[Worker]]) -> None:
    """Publish, and kill three workers that hold all of it."""
    dead = None
    for kills in range(3):
        worker = await start(kills)
        requests = len(town.ledger.lines())
        if dead is None:
            await town.publish_numbers(range(IN_HAND // len(town.endpoints)))
        else:
            await town.end_leases(dead)
        in_flight = await all_in_hand(town, worker, requests)
        worker.kill()
        dead = worker
        log.info("kill %s: %s in hand, %s in flight", kills, IN_HAND, in_flight)
    assert dead is not None
    await town.end_leases(dead)
    town.receiver.answer()


async def test_three_kills_with_400_deliveries_in_hand_end_none_of_them(town: Town) -> None:
    await add_endpoints(town, 4)

    async def start(number: int) -> Worker:
        worker = await town.start_worker(POSTHORN_IN_FLIGHT_MAX="100", **PATIENT)
        await warm_up(town, number)
        return worker

    await killed_three_times(town, start)
    await town.start_worker()
    await all_delivered(town)
    assert (await town.attempts("lost")).count(False) == IN_HAND, "each delivery's first loss"


async def test_three_kills_with_400_deliveries_in_flight_end_none_of_them(town: Town) -> None:
    """Each POST had begun, at every kill; a worker that knows nothing of an endpoint sends it four requests at once."""
    await add_endpoints(town, IN_HAND // 4)

    async def start(_: int) -> Worker:
        return await town.start_worker(POSTHORN_IN_FLIGHT_MAX=str(10 * IN_HAND), **PATIENT)

    await killed_three_times(town, start)
    await town.start_worker()
    await all_delivered(town)
    assert (await town.attempts("lost")).count(False) == IN_HAND, "each delivery's first loss"


async def test_a_worker_stopped_for_longer_than_its_leases_ends_none_of_its_deliveries(town: Town) -> None:
    await add_endpoints(town, 4)
    stopped = await town.start_worker(POSTHORN_IN_FLIGHT_MAX="100", **PATIENT)
    await warm_up(town)
    requests = len(town.ledger.lines())
    await town.publish_numbers(range(IN_HAND // 4))
    await all_in_hand(town, stopped, requests)
    stopped.process.send_signal(signal.SIGSTOP)
    await town.end_leases(stopped)
    requests = len(town.ledger.lines())
    await town.start_worker(**PATIENT)
    await town.requests_came(requests + 1)
    town.receiver.answer()  # both: what the stopped one asked for is answered, and it will read that
    stopped.process.send_signal(signal.SIGCONT)
    await all_delivered(town)
    for worker in town.workers:
        worker.terminate()
        assert await worker.ended() == 0, worker.said()
    assert set(await town.attempts("lost")) == {False}


async def test_a_full_worker_that_is_stopped_in_good_order_loses_nothing_and_makes_nothing_wait(town: Town) -> None:
    """Its receiver hangs, so its intake waits for room, which nobody makes any more."""
    await add_endpoints(town, 4)
    full = await town.start_worker(POSTHORN_INTAKE_BATCH_MAX="10", **PATIENT)
    await warm_up(town)
    await town.publish_numbers(range(IN_HAND // 4))
    await until(partial(_has_leased, town, 4 * IN_FLIGHT_MAX, 4 * IN_FLIGHT_MAX), "the worker is full", told=town.told)
    full.terminate()
    await until(partial(_has_leased, town, 1, IN_FLIGHT_MAX), "what has not begun is given back", told=town.told)
    assert full.process.poll() is None, "it waits for what is in flight"
    town.receiver.answer()
    await town.start_worker()
    assert await full.ended() == 0, full.said()
    await all_delivered(town)
    assert await town.attempts("lost") == []


async def _has_leased(town: Town, least: int, most: int) -> bool:
    return least <= await town.leased_count() <= most


async def _is_over(town: Town, worker: Worker) -> bool:
    await town.hurry()
    return worker.process.poll() is not None or await town.have_all_ended()


async def test_an_event_that_crashes_workers_ends_and_no_other_does(town: Town) -> None:
    await town.add_endpoint("/slow/all")
    await town.publish_numbers(range(50))
    crashes = 0
    while crashes < 10:
        dying = await town.start_worker(
            *("tests.end_to_end.crashing_worker", "of the poison", "1"), wait=False, TOWN_POISON="evt_00007", **PATIENT
        )
        await until(partial(_is_over, town, dying), "it crashes, or nothing is left", told=dying.said)
        if dying.process.poll() is None:
            break
        assert dying.process.returncode == -signal.SIGKILL, dying.said()
        crashes += 1
        await town.end_leases(dying)
    found = await town.judge()
    assert found.ended_wrongly == ["evt_00007 at /slow/all (dead: crashes_worker)"]
    assert not found.not_ended
    assert crashes == 4
