"""Limited endpoints in a worker: claimed only, looked at again in time, and never sent to late."""

import asyncio

import pytest

from service.core.deliveries.allowance import PROMPT_SECONDS, Grant
from service.core.deliveries.delivery import Lease
from service.core.deliveries.effect import FreePlace
from service.core.deliveries.fairness.lanes import LaneLimits
from service.core.deliveries.settlement import freeing_place
from service.flow.limited import LOOK_SECONDS_MIN, Limited
from tests.fakes.delivery_store import alike
from tests.fakes.events import event_of
from tests.fakes.settlements import settled_by
from tests.flow.worker import Worker

URL = "https://a.example/"


async def _limited(worker: Worker, *, per_second: float | None = None, in_flight: int | None = None) -> str:
    endpoint_id = await worker.endpoint("a")
    await worker.administration.limit_endpoint(endpoint_id, per_second=per_second, in_flight=in_flight)
    return endpoint_id


async def _publish(worker: Worker, count: int) -> None:
    await worker.intake.take_in([event_of(id=f"evt_{number}") for number in range(count)], "test")


async def test_a_delivery_of_a_limited_endpoint_is_never_born_leased() -> None:
    async with Worker() as worker:
        await _limited(worker, in_flight=1000)
        await worker.endpoint("b")
        await _publish(worker, 3)
        assert sorted(worker.states()) == ["leased"] * 3 + ["pending"] * 3


async def test_the_next_request_follows_the_commit_and_not_the_clock() -> None:
    """The clock stands still: nothing is claimed because time has passed."""
    async with Worker() as worker:
        await _limited(worker, in_flight=1)
        worker.start_settle()
        worker.start(worker.dispatch.run(), worker.dispatch.run_limited())
        await worker.clock.until_pauses(1)
        hung = worker.sender.hang(URL)
        await _publish(worker, 20)
        await worker.sender.until_sent(1)
        assert sorted(set(worker.states())) == ["leased", "pending"]
        assert worker.states().count("leased") == 1
        hung.set()
        await worker.observer.until_settled(20)
        assert worker.states() == ["delivered"] * 20
        assert not worker.database.places


async def test_the_next_request_follows_when_the_rate_lets_it_through() -> None:
    async with Worker() as worker:
        await _limited(worker, per_second=2)
        worker.start_settle()
        worker.start(worker.dispatch.run(), worker.dispatch.run_limited())
        await worker.clock.until_pauses(1)
        await _publish(worker, 4)
        await worker.observer.until_settled(1)
        began_at = worker.clock.monotonic()
        async with asyncio.timeout(10):
            while len(worker.observer.settled) < 4:
                worker.clock.advance(0.01)
                for _ in range(10):
                    await asyncio.sleep(0)
        seconds = worker.clock.monotonic() - began_at
        assert 1.45 <= seconds <= 1.7, "three more at two a second"


async def test_what_was_held_up_is_not_sent_together_with_the_next() -> None:
    async with Worker(delivers=False) as worker:
        await _limited(worker, per_second=1)
        await _publish(worker, 1)
        (claim,) = await worker.store.claim_due(alike(1))
        (subscription,) = await worker.directory.serving([claim])
        assert subscription is not None
        endpoint = subscription.endpoint
        now = worker.clock.monotonic()
        lease = Lease(claim.delivery, endpoint, 1, now + 60, claim.grant, now)
        worker.clock.advance(PROMPT_SECONDS + 0.01)
        assert await worker.deliver(lease) is None
        by_places = Lease(claim.delivery, endpoint, 1, now + 60, Grant(False, None), now)  # noqa: FBT003
        settled = await worker.deliver(by_places)
        assert settled is not None, "places do not depend on when a request begins"
        assert freeing_place(settled).effects == (FreePlace(endpoint.id, claim.delivery.key, 1),)


async def test_the_places_of_what_a_worker_gives_back_are_free() -> None:
    async with Worker(limits=LaneLimits(in_flight_max=2)) as worker:
        await _limited(worker, in_flight=5)
        await _publish(worker, 5)
        hung = worker.sender.hang(URL)
        worker.start_settle()
        worker.start(worker.dispatch.run(), worker.dispatch.run_limited())
        await worker.sender.until_sent(2)
        assert len(worker.database.places) == 5
        worker.dispatch.stop()
        hung.set()
        await worker.settle.drained()
        await worker.observer.until_settled(2)
        assert sorted(worker.states()) == ["delivered"] * 2 + ["pending"] * 3
        assert not worker.database.places


async def test_a_delivery_nobody_wants_frees_its_place() -> None:
    async with Worker() as worker:
        endpoint_id = await _limited(worker, per_second=0.01, in_flight=1)
        await _publish(worker, 2)
        worker.database.subscriptions[1].removed_because = "deleted"
        worker.database.directory_changed("org_1")
        worker.start_settle()
        worker.start(worker.dispatch.run(), worker.dispatch.run_limited())
        await worker.observer.until_settled(2)
        assert worker.states() == ["cancelled"] * 2
        assert worker.sender.requests == []
        assert worker.database.limits[endpoint_id].requests >= 1


async def test_looking_again_keeps_what_is_due_later() -> None:
    async with Worker() as worker:
        limited = Limited(worker.around)
        limited.look_at("ep_later", 0.3)
        limited.look_at("ep_soon", 0.000_001)
        limited.look_at("ep_now")
        assert await limited.due() == ["ep_now"]
        waiting = asyncio.create_task(limited.due())
        await worker.clock.until_pauses(1)
        (pause,) = worker.clock.pauses
        assert pause == pytest.approx(LOOK_SECONDS_MIN), "not at once: a fast rate has several by then"
        worker.clock.advance(LOOK_SECONDS_MIN)
        assert await waiting == ["ep_soon"]
        worker.clock.advance(1)
        assert await limited.due() == ["ep_later"]
        nothing = asyncio.create_task(limited.due())
        await asyncio.sleep(0)
        limited.stop()
        assert await nothing == ()


async def test_only_a_freed_place_is_heeded() -> None:
    async with Worker(delivers=False) as worker:
        endpoint_id = await _limited(worker, in_flight=1)
        await _publish(worker, 1)
        (claim,) = await worker.store.claim_due(alike(1))
        limited = Limited(worker.around)
        limited.heed(settled_by(claim, 429, retry_after="9").effects)
        assert not limited._take()
        limited.heed(freeing_place(settled_by(claim, 429, retry_after="9")).effects)
        assert limited._take() == [endpoint_id]
