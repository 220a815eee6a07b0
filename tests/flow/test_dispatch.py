"""Leases into lanes, lanes onto the wire, and back into the database what cannot be sent now."""

import asyncio

import pytest

from service.core.deliveries.delivery import State
from service.core.deliveries.effect import BringForward
from service.core.deliveries.fairness.lanes import LaneLimits
from service.core.deliveries.request import Fault, Reply
from service.core.reason import Reason
from service.flow.dispatch import ClaimLimits
from service.ports.errors import UnavailableError
from tests.fakes.events import event_of
from tests.flow.worker import Worker


async def _pending(worker: Worker, count: int, start: int = 0, **changes: str) -> None:
    """Recorded by a worker that delivers nothing, so that they wait in the database."""
    other = Worker(database=worker.database, delivers=False, new_uid=worker.new_uid)
    events = [event_of(id=f"evt_{number}", **changes) for number in range(start, start + count)]
    await other.intake.take_in(events, "test")


async def test_what_is_due_is_claimed_and_sent() -> None:
    async with Worker() as worker:
        await worker.endpoint("a")
        await _pending(worker, 3)
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.observer.until(lambda seen: len(seen.settled) == 3)
        assert worker.states() == ["delivered"] * 3


async def test_a_failure_is_tried_again_when_it_is_due() -> None:
    async with Worker() as worker:
        await worker.endpoint("a")
        await _pending(worker, 1)
        worker.sender.script("https://a.example/", Reply(500, 1), Reply(503, 1))
        worker.start_settle()
        worker.start(worker.dispatch.run())
        for count, seconds in ((1, 6), (2, 16), (3, 0)):
            await worker.observer.until_settled(count)
            await worker.clock.until_pauses(len(worker.clock.pauses))
            worker.clock.advance(seconds)
        assert worker.states() == ["delivered"]
        assert [request.headers["webhook-attempt"] for request in worker.sender.requests] == ["1", "2", "3"]
        assert len({request.body for request in worker.sender.requests}) == 1


async def test_a_claim_outlives_the_database() -> None:
    async with Worker() as worker:
        await worker.endpoint("a")
        await _pending(worker, 1)
        worker.store.fail("claim_due", *[UnavailableError("away")] * 3)
        worker.start_settle()
        worker.start(worker.dispatch.run())
        for count in (1, 2, 3):
            await worker.clock.until_pauses(count)
            worker.clock.advance(5)
        await worker.observer.until(lambda seen: seen.settled)
        assert worker.states() == ["delivered"]


async def test_a_delivery_whose_subscription_is_gone_ends_without_an_attempt() -> None:
    async with Worker() as worker:
        endpoint_id = await worker.endpoint("a")
        await _pending(worker, 1)
        (row,) = worker.database.deliveries.values()
        await worker.directory.of(["org_1"])
        worker.database.subscriptions[1].removed_because = "deleted"
        worker.database.endpoints[endpoint_id].is_removed = True
        worker.database.directory_changed("org_1")
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.observer.until(lambda seen: seen.settled)
        assert (row.state, row.attempts) == (State.CANCELLED, [])
        assert worker.sender.requests == []


async def test_a_claim_uses_the_directory_as_it_is_now() -> None:
    """A revoked secret, a moved URL: the copy in memory is older than the claim says, so it is loaded again."""
    async with Worker() as worker:
        endpoint_id = await worker.endpoint("a")
        await worker.directory.of(["org_1"])
        await _pending(worker, 1)
        worker.database.endpoints[endpoint_id].url = "https://moved.example/"
        worker.database.directory_changed("org_1")
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.observer.until(lambda seen: seen.settled)
        assert [request.url for request in worker.sender.requests] == ["https://moved.example/"]


async def test_a_hung_endpoint_holds_up_no_other() -> None:
    limits = LaneLimits(held_max=20, lane_held_max=8, lane_in_flight_max=4, in_flight_max=8)
    async with Worker(limits=limits, claim_limits=ClaimLimits(batch_max=20, per_endpoint_max=8)) as worker:
        await worker.endpoint("hung", "message.sent")
        await worker.endpoint("well", "message.replied")
        hung = worker.sender.hang("https://hung.example/")
        await _pending(worker, 30)
        await _pending(worker, 30, 30, type="message.replied")
        worker.start_settle()
        worker.start(worker.dispatch.run())
        for _ in range(20):
            if len(worker.observer.settled) >= 30:
                break
            await worker.clock.until_pauses(len(worker.clock.pauses) + 1)
            worker.clock.advance(1)
        await worker.observer.until(lambda seen: len(seen.settled) == 30)
        assert {settled.delivery.event_type for settled, _ in worker.observer.settled} == {"message.replied"}
        assert worker.lanes.held <= 8
        hung.set()


async def test_what_waits_behind_a_hung_request_goes_back_to_the_database() -> None:
    async with Worker(limits=LaneLimits(lane_in_flight_max=2, stall_seconds=1.0)) as worker:
        await worker.endpoint("hung")
        hung = worker.sender.hang("https://hung.example/")
        await _pending(worker, 6)
        worker.start(worker.dispatch.run())
        worker.start_settle()
        await worker.sender.until_sent(2)
        await worker.clock.until_pauses(1)
        assert worker.lanes.held == 6
        for pauses in (2, 3):  # found to hang, and after another second still no answer
            worker.clock.advance(1.5)
            await worker.settle.drained()
            await worker.clock.until_pauses(pauses)
            await worker.settle.drained()
        assert worker.lanes.held == 2
        assert sorted(worker.states()) == ["leased"] * 2 + ["pending"] * 4
        assert all(not row.attempts for row in worker.database.deliveries.values())
        hung.set()


async def test_a_throttled_endpoint_is_left_alone() -> None:
    async with Worker(limits=LaneLimits(lane_in_flight_max=1)) as worker:
        await worker.endpoint("a")
        await _pending(worker, 3)
        worker.sender.script("https://a.example/", Reply(429, 1, b"", ("120",)))
        hang = worker.sender.hang("https://a.example/")
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.sender.until_sent(1)
        hang.set()
        await worker.observer.until(lambda seen: seen.settled)
        worker.clock.advance(2)
        await worker.clock.until_pauses(2)
        worker.clock.advance(2)
        await worker.clock.until_pauses(3)
        backlog = await worker.store.backlog()
        assert dict(backlog.gates) == {"retry_after": 1}
        sent_count = len(worker.sender.requests)
        worker.clock.advance(100)
        await worker.clock.until_pauses(4)
        assert len(worker.sender.requests) == sent_count
        worker.clock.advance(200)
        await worker.observer.until(lambda seen: len(seen.settled) == 4)
        assert worker.states() == ["delivered"] * 3


async def test_a_bug_while_sending_costs_one_lease_and_no_slot() -> None:
    async with Worker(limits=LaneLimits(in_flight_max=1, lane_in_flight_max=1)) as worker:
        await worker.endpoint("a")
        await _pending(worker, 2)
        worker.sender.script("https://a.example/", ZeroDivisionError("a bug"))
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.observer.until(lambda seen: seen.settled)
        (trouble,) = worker.observer.troubles
        assert (trouble[0], type(trouble[1])) == ("deliver", ZeroDivisionError)
        assert sorted(worker.states()) == ["delivered", "leased"]
        worker.clock.advance(61)
        assert await worker.upkeep.rescue_once() == 1


async def test_a_lease_that_is_too_old_is_given_back_unused() -> None:
    async with Worker(limits=LaneLimits(in_flight_max=1)) as worker:
        await worker.endpoint("a")
        await _pending(worker, 2)
        hang = worker.sender.hang("https://a.example/")
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.sender.until_sent(1)
        worker.clock.advance(0.9)
        worker.clock._seconds += 45
        hang.set()
        await worker.observer.until(lambda seen: seen.settled)
        await worker.settle.drained()
        assert sorted(worker.states()) == ["delivered", "pending"]
        assert len(worker.sender.requests) == 1


async def test_draining_gives_back_what_has_not_begun_and_lets_the_rest_finish() -> None:
    async with Worker(limits=LaneLimits(in_flight_max=2)) as worker:
        await worker.endpoint("a")
        await _pending(worker, 5)
        hang = worker.sender.hang("https://a.example/")
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.sender.until_sent(2)
        worker.dispatch.stop()
        finishing = asyncio.create_task(worker.dispatch.finish(5))
        await worker.settle.drained()
        assert sorted(worker.states()) == ["leased"] * 2 + ["pending"] * 3, "given back before anything finished"
        hang.set()
        await finishing
        await worker.settle.drained()
        assert sorted(worker.states()) == ["delivered"] * 2 + ["pending"] * 3
        assert worker.lanes.held == 0
        assert len(worker.sender.requests) == 2


async def test_draining_gives_up_on_what_hangs() -> None:
    async with Worker() as worker:
        await worker.endpoint("a")
        await _pending(worker, 1)
        worker.sender.hang("https://a.example/")
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.sender.until_sent(1)
        worker.dispatch.stop()
        await worker.dispatch.finish(0)
        assert worker.states() == ["leased"], "its lease expires, and another worker attempts it again"


@pytest.mark.parametrize("held_max", [1, 3, 7])
async def test_a_worker_never_holds_more_than_it_may(held_max: int) -> None:
    async with Worker(limits=LaneLimits(held_max=held_max)) as worker:
        for name in "abc":
            await worker.endpoint(name)
        await _pending(worker, 20)
        worker.start_settle()
        worker.start(worker.dispatch.run())
        while len(worker.observer.settled) < 60:
            await worker.observer.until_settled(len(worker.observer.settled) + 1)
            assert worker.lanes.held <= held_max
            worker.clock.advance(2)
        assert worker.states() == ["delivered"] * 60


async def test_an_endpoint_that_is_back_gets_what_waits_before_it_is_due() -> None:
    """And not all at once: each retry that succeeds brings on a few more."""
    async with Worker() as worker:
        await worker.endpoint("a")
        await _pending(worker, 40)
        worker.sender.otherwise = Fault(Reason.CONNECT_REFUSED, 1)
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.observer.until_settled(40)
        worker.sender.otherwise = Reply(200, 1)
        await _pending(worker, 1, 40)
        began_at = worker.clock.monotonic()
        while "pending" in worker.states():
            pauses = len(worker.clock.pauses)
            worker.clock.advance(0.7)
            await worker.clock.until_pauses(pauses + 1)
            assert worker.clock.monotonic() - began_at < 4, "before the schedule's first delay, with its jitter"
        await worker.observer.until_settled(81)
        assert worker.states() == ["delivered"] * 41


async def test_after_as_many_outages_as_open_a_breaker_a_worker_sends_nothing_of_what_it_holds() -> None:
    async with Worker(limits=LaneLimits(in_flight_max=1, breaker_failures=3)) as worker:
        await worker.endpoint("a")
        worker.sender.otherwise = Reply(503, 1)
        worker.start_settle()
        await worker.intake.take_in([event_of(id=f"evt_{number}") for number in range(10)], "test")
        await worker.observer.until_settled(3)
        await worker.settle.drained()
        assert len(worker.sender.requests) == 3
        assert worker.states() == ["pending"] * 10
        assert worker.lanes.held == 0


async def test_refusals_open_no_breaker() -> None:
    async with Worker(limits=LaneLimits(in_flight_max=1, breaker_failures=3)) as worker:
        await worker.endpoint("a")
        worker.sender.otherwise = Reply(404, 1)
        worker.start_settle()
        await worker.intake.take_in([event_of(id=f"evt_{number}") for number in range(10)], "test")
        await worker.observer.until_settled(10)
        assert len(worker.sender.requests) == 10


async def test_one_success_among_failures_brings_nothing_forward() -> None:
    async with Worker() as worker:
        await worker.endpoint("a")
        await _pending(worker, 4)
        worker.sender.script("https://a.example/", Reply(500, 1), Reply(200, 1), Reply(500, 1), Reply(200, 1))
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.observer.until_settled(4)
        effects = [effect for settled, _ in worker.observer.settled for effect in settled.effects]
        assert not [effect for effect in effects if isinstance(effect, BringForward)]
