"""What a worker holds in memory, when the endpoint is paused or changed meanwhile."""

import asyncio

import pytest

from service.core.deliveries.fairness.lanes import LaneLimits
from service.core.endpoints.gates.gate import FRESH_SECONDS
from service.ports.errors import UnavailableError
from tests.fakes.events import event_of
from tests.flow.worker import Worker

URL = "https://a.example/"
ONE_AT_A_TIME = LaneLimits(in_flight_max=1)


def asked(worker: Worker) -> list[int]:
    """How many leases each question was about."""
    return [count for verb, count in worker.store.calls if verb == "still_wanted"]


async def _holding(worker: Worker, count: int) -> tuple[str, asyncio.Event]:
    """An endpoint whose first request hangs, while ``count`` more leases wait behind it."""
    endpoint_id = await worker.endpoint("a")
    hung = worker.sender.hang(URL)
    worker.start_settle()
    await worker.intake.take_in([event_of(id=f"evt_{number}") for number in range(count + 1)], "test")
    await worker.sender.until_sent(1)
    return endpoint_id, hung


@pytest.mark.parametrize("change", ["pause", "settings"])
async def test_what_is_held_is_not_sent_once_it_has_waited_and_its_endpoint_was_paused_or_changed(change: str) -> None:
    async with Worker(limits=ONE_AT_A_TIME) as worker:
        endpoint_id, hung = await _holding(worker, 3)
        if change == "pause":
            await worker.administration.pause_endpoint("org_1", endpoint_id, True)  # noqa: FBT003
        else:
            await worker.administration.set_endpoint(endpoint_id, timeout_seconds=9)
        worker.clock.advance(FRESH_SECONDS + 0.01)
        hung.set()
        await worker.observer.until_settled(1)
        await worker.settle.drained()
        assert len(worker.sender.requests) == 1, "nothing was sent after that"
        assert sorted(worker.states()) == ["delivered", "pending", "pending", "pending"]
        assert not any(
            row.delivery.attempts_recorded for row in worker.database.deliveries.values() if row.attempts == []
        )


async def test_what_has_waited_is_asked_about_together_and_sent() -> None:
    async with Worker(limits=LaneLimits(in_flight_max=4)) as worker:
        await worker.endpoint("a")
        hung = worker.sender.hang(URL)
        worker.start_settle()
        await worker.intake.take_in([event_of(id=f"evt_{number}") for number in range(8)], "test")
        await worker.sender.until_sent(4)
        worker.clock.advance(FRESH_SECONDS + 0.01)
        worker.store.fail("still_wanted", UnavailableError("slow"))  # the others ask meanwhile
        hung.set()
        await worker.observer.until_settled(4)
        await worker.observer.until(lambda seen: seen.troubles)
        worker.clock.advance(1)
        await worker.observer.until_settled(8)
        assert asked(worker) == [1, 1, 3]


async def test_a_fresh_lease_is_sent_unasked() -> None:
    async with Worker(limits=ONE_AT_A_TIME) as worker:
        _, hung = await _holding(worker, 3)
        worker.clock.advance(FRESH_SECONDS - 0.01)
        hung.set()
        await worker.observer.until_settled(4)
        assert not asked(worker)


async def test_an_answer_that_took_too_long_to_come_is_none() -> None:
    async with Worker(limits=ONE_AT_A_TIME) as worker:
        _, hung = await _holding(worker, 1)
        worker.clock.advance(FRESH_SECONDS + 0.01)
        worker.store.fail("still_wanted", UnavailableError("away"))
        hung.set()
        await worker.observer.until(lambda seen: seen.troubles)
        worker.clock.advance(FRESH_SECONDS + 0.01)
        await worker.observer.until_settled(1)
        async with asyncio.timeout(60):
            while worker.lanes.held:
                await worker.observer.until_settled(1)
                await asyncio.sleep(0)
        await worker.settle.drained()
        assert len(worker.sender.requests) == 1
        assert sorted(worker.states()) == ["delivered", "pending"]
