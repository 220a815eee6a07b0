"""Deliveries whose last worker was lost: nothing of another's trouble is held against them."""

import asyncio

from service.core.deliveries.delivery import State
from service.core.deliveries.request import Fault, Reply, Request
from service.core.reason import Reason
from service.flow.suspects import LAST_CHANCES_MAX
from service.ports.errors import UnavailableError
from tests.fakes.clock import ManualClock
from tests.fakes.delivery_store import AFTER_COMMIT
from tests.fakes.events import event_of
from tests.fakes.sender import ScriptedSender
from tests.flow.worker import TIMEOUT_SECONDS, Worker

A = "https://a.example/"


async def _suspects(worker: Worker, count: int, *, losses: int = 1) -> None:
    """Record events, and lose the workers that claim them: once before it is known what began, then in the POST."""
    await worker.endpoint("a")
    other = Worker(database=worker.database, delivers=False, new_uid=worker.new_uid)
    await other.intake.take_in([event_of(id=f"evt_{number}") for number in range(count)], "test")
    other.start_settle()
    for loss in range(losses):
        assert len(await other.claim(begins=loss > 0)) == count
        worker.clock.advance(61)
        assert await other.upkeep.rescue_once() == count
        await other.settle.drained()
        worker.clock.advance(61)
    await other.__aexit__(None, None, None)


def _begins(worker: Worker) -> list[int]:
    return [count for verb, count in worker.store.calls if verb == "begin"]


async def test_what_is_not_suspect_writes_nothing_before_its_post() -> None:
    async with Worker() as worker:
        await worker.endpoint("a")
        worker.start_settle()
        await worker.intake.take_in([event_of()], "test")
        await worker.observer.until_settled(1)
        assert _begins(worker) == []


async def test_a_suspects_post_is_written_down_before_it_begins_and_many_in_one_statement() -> None:
    async with Worker() as worker:
        await _suspects(worker, 40)
        worker.store.fail("begin", UnavailableError("slow"))
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.observer.until(lambda seen: seen.troubles)
        await worker.clock.until_pauses(2)
        worker.clock.advance(1)
        await worker.observer.until_settled(40)
        assert _begins(worker) == [1, 1, 39], "the first, the first again, and all that came meanwhile"
        assert worker.states() == ["delivered"] * 40
        assert {row.delivery.attempts_made for row in worker.database.deliveries.values()} == {1}


async def test_no_post_begins_before_that_is_committed_however_long_it_takes() -> None:
    async with Worker() as worker:
        await _suspects(worker, 3)
        worker.store.fail("begin", UnavailableError("away"))
        worker.store.fail("begin", UnavailableError("cut off"), when=AFTER_COMMIT)
        worker.start_settle()
        worker.start(worker.dispatch.run())
        for _ in range(2):
            await worker.observer.until(lambda seen: seen.troubles)
            worker.observer.told.clear()
            assert worker.sender.requests == []
            worker.clock.advance(1)
        await worker.observer.until_settled(3)
        assert worker.states() == ["delivered"] * 3


async def test_a_suspect_whose_lease_was_lost_meanwhile_is_not_sent() -> None:
    async with Worker() as worker:
        await _suspects(worker, 1)
        (lease,) = await worker.leases()
        worker.clock.advance(61)
        await worker.store.rescue(10)
        assert await worker.suspects(lease) is None
        assert worker.sender.requests == []


async def test_who_is_cancelled_while_writing_leaves_the_others_to_the_next() -> None:
    async with Worker() as worker:
        await _suspects(worker, 3)
        worker.store.fail("begin", UnavailableError("away"))
        first, *others = [asyncio.create_task(worker.suspects(lease)) for lease in await worker.leases()]
        await worker.observer.until(lambda seen: seen.troubles)
        first.cancel()
        settled = await asyncio.gather(*others)
        assert [each is not None and each.settlement.state for each in settled] == [State.DELIVERED] * 2
        assert _begins(worker)[-1] == 2


async def test_last_chances_are_taken_one_at_a_time() -> None:
    """So the one that crashes its worker takes no other with it."""
    async with Worker() as worker:
        await _suspects(worker, 20, losses=3)
        assert {row.delivery.lost_in_a_row for row in worker.database.deliveries.values()} == {3}
        hung = worker.sender.hang(A)
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.sender.until_sent(1)
        await worker.settle.drained()
        assert sorted(worker.states()) == ["leased"] * LAST_CHANCES_MAX + ["pending"] * (20 - LAST_CHANCES_MAX)
        assert len(worker.sender.requests) == 1
        hung.set()
        async with asyncio.timeout(60):
            while len(worker.observer.settled) < 20:
                worker.clock.advance(0.5)
                await asyncio.sleep(0)
        assert worker.states() == ["delivered"] * 20


async def test_no_last_chance_is_taken_before_the_end_of_the_one_before_is_committed() -> None:
    """It has been answered, but a crash now would still end it."""
    async with Worker() as worker:
        await _suspects(worker, 3, losses=3)
        worker.store.fail("settle", UnavailableError("away"))
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.observer.until(lambda seen: seen.troubles)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(worker.sender.requests) == 1
        worker.clock.advance(1)
        await worker.observer.until_settled(3)
        assert worker.states() == ["delivered"] * 3


async def test_a_last_chance_whose_end_is_never_committed_is_waited_for_no_longer_than_its_lease() -> None:
    async with Worker() as worker:
        await _suspects(worker, 2, losses=3)
        first, second = await worker.leases()
        assert await worker.suspects(first) is not None  # and nobody puts that into Settle
        waiting = asyncio.create_task(worker.suspects(second))
        worker.start(worker.dispatch.run())
        async with asyncio.timeout(60):
            while not waiting.done():
                worker.clock.advance(1)
                await asyncio.sleep(0)
        assert await waiting is None, "its own lease is over by then, too"
        assert len(worker.sender.requests) == 1


class Poisoned(ScriptedSender):
    """Whoever sends ``evt_0`` dies of it; all other requests time out."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.is_dead = asyncio.Event()
        self._clock = clock

    async def send(self, request: Request) -> Reply | Fault:
        self.requests.append(request)
        if request.headers["webhook-id"] == "evt_0":
            self.is_dead.set()
            await asyncio.Event().wait()
        await self._clock.pause(TIMEOUT_SECONDS)
        return Fault(Reason.TIMEOUT, 15_000)


async def test_what_crashes_workers_ends_and_what_was_in_flight_beside_it_does_not() -> None:
    """Its neighbours are in flight at every crash, as their receiver hangs."""
    async with Worker() as upkeep:
        await _suspects(upkeep, 20)
        upkeep.start_settle()
        poison, *others = upkeep.database.deliveries.values()
        crashes = 1  # the one that made them suspect
        while poison.state is not State.DEAD:
            sender = Poisoned(upkeep.clock)
            async with Worker(database=upkeep.database, sender=sender) as dying, asyncio.timeout(60):
                dying.prove(poison.delivery.endpoint_id, A)
                dying.start_settle()
                dying.start(dying.dispatch.run())
                while not sender.is_dead.is_set():
                    upkeep.clock.advance(0.5)
                    await asyncio.sleep(0)
            crashes += 1
            assert crashes <= 4
            upkeep.clock.advance(61)
            await upkeep.upkeep.rescue_once()
            await upkeep.settle.drained()
            upkeep.clock.advance(61)
        assert poison.reason is Reason.CRASHES_WORKER
        assert crashes == 4
        assert {row.state for row in others} == {State.PENDING}
        assert max(row.delivery.lost_in_a_row for row in others) == 3, "a parallel attempt would have ended these, too"
