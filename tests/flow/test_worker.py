"""A whole worker: its loops, and the order in which it drains. The clock stands still until a test moves it."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from service.core.deliveries.fairness.lanes import LaneLimits
from service.core.reason import ParkReason
from service.flow.worker import COMMIT_SECONDS_MAX
from service.ports.errors import UnavailableError
from tests.fakes.events import body_of, event_of
from tests.fakes.source import MemoryEventSource
from tests.flow.worker import DRAIN_SECONDS, Worker

A = "https://a.example/"


class Running:
    """A worker that runs, until a test asks it to stop and lets time pass."""

    def __init__(self, worker: Worker) -> None:
        self._clock = worker.clock
        self.stop = asyncio.Event()
        self.ended = asyncio.create_task(worker.whole.run(self.stop))

    async def until(self, condition: Callable[[], object]) -> None:
        """Let time pass, a little at each turn of the loop, until ``condition`` holds."""
        async with asyncio.timeout(10):
            while not condition():
                self._clock.advance(0.01)
                await asyncio.sleep(0)

    async def drain(self) -> float:
        """Ask it to stop; how many seconds it took."""
        began_at = self._clock.monotonic()
        self.stop.set()
        await self.until(self.ended.done)
        await self.ended
        return self._clock.monotonic() - began_at


class StubbornSource(MemoryEventSource):
    """Does not stop when it is told to: a broker that does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked_to_stop = asyncio.Event()

    async def stop(self) -> None:
        self.is_asked_to_stop.set()
        await asyncio.Event().wait()


async def publish(worker: Worker, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        worker.source.publish(body_of(id=f"evt_{number}"))
    await worker.source.until_acked(start + count)


def verbs(worker: Worker) -> Sequence[str]:
    """What the database was asked for, in order; measuring and claiming of nothing left out."""
    return [verb for verb, _ in worker.store.calls if verb not in {"backlog", "claim_due", "rescue"}]


async def test_it_takes_in_delivers_settles_and_keeps_up() -> None:
    async with Worker() as worker:
        running = Running(worker)
        await worker.endpoint("a")
        await publish(worker, 2)
        worker.source.publish(b"[]")
        await worker.observer.until_settled(2)
        await worker.source.until_acked(3)
        assert worker.states() == ["delivered"] * 2
        assert [reason for reason, _, _ in worker.observer.parked] == [ParkReason.NOT_AN_OBJECT]
        assert worker.days.rounds_count == 1
        assert worker.observer.backlogs
        assert not worker.whole.is_draining
        await running.drain()
        assert worker.whole.is_draining
        assert not worker.observer.troubles


async def test_every_attempt_is_told_at_its_start_and_at_its_end() -> None:
    async with Worker() as worker:
        running = Running(worker)
        await worker.endpoint("a")
        hung = worker.sender.hang(A)
        await publish(worker, 1)
        await worker.sender.until_sent(1)
        (started,) = worker.observer.started
        assert (started.target_url, started.claim_number, started.at) == (A, 1, worker.clock.now())
        assert not worker.observer.settled
        hung.set()
        await worker.observer.until_settled(1)
        assert worker.observer.settled[0][0].delivery == started.delivery
        await running.drain()


async def test_a_loop_that_fails_ends_the_worker() -> None:
    async with Worker() as worker:
        worker.store.fail("backlog", ZeroDivisionError("a bug"))
        with pytest.raises(ZeroDivisionError):
            await Running(worker).ended


async def test_the_drain_acks_then_gives_back_then_finishes_then_commits() -> None:
    async with Worker(limits=LaneLimits(in_flight_max=1)) as worker:
        running = Running(worker)
        await worker.endpoint("a")
        hung = worker.sender.hang(A)
        await publish(worker, 3)
        await worker.sender.until_sent(1)
        running.stop.set()
        await running.until(lambda: worker.states().count("pending") == 2)
        assert not running.ended.done()
        hung.set()
        await running.drain()
        assert verbs(worker)[-2:] == ["settle", "settle"]
        assert sorted(worker.states()) == ["delivered", "pending", "pending"]
        assert len(worker.sender.requests) == 1
        assert len(worker.source.acked) == 3
        assert worker.lanes.held == 0
        assert not worker.observer.troubles


async def test_what_comes_over_http_during_the_drain_is_born_pending() -> None:
    async with Worker() as worker:
        running = Running(worker)
        await worker.endpoint("a")
        hung = worker.sender.hang(A)
        await publish(worker, 1)
        await worker.sender.until_sent(1)
        running.stop.set()
        await running.until(lambda: worker.whole.is_draining)
        await worker.intake.take_in([event_of(id="evt_late")], "http")
        assert worker.states() == ["leased", "pending"]
        hung.set()
        await running.drain()
        assert worker.lanes.held == 0


async def test_what_hangs_is_left_to_its_lease_and_the_commits_have_their_time() -> None:
    async with Worker() as worker:
        running = Running(worker)
        await worker.endpoint("a")
        await worker.endpoint("b")
        worker.sender.hang(A)
        worker.store.fail("settle", UnavailableError("away"))
        await publish(worker, 1)
        await worker.observer.until(lambda seen: seen.troubles)
        assert await running.drain() == pytest.approx(DRAIN_SECONDS - COMMIT_SECONDS_MAX, abs=1)
        assert sorted(worker.states()) == ["delivered", "leased"], "its lease expires: another worker attempts it again"
        assert [where for where, _, _ in worker.observer.troubles] == ["settle"], "hanging is not our trouble"


async def test_a_source_that_does_not_stop_keeps_no_lease_from_going_back() -> None:
    async with Worker(source=StubbornSource(), limits=LaneLimits(in_flight_max=1, stall_seconds=100.0)) as worker:
        running = Running(worker)
        await worker.endpoint("a")
        hung = worker.sender.hang(A)
        await publish(worker, 2)
        await worker.sender.until_sent(1)
        began_at = worker.clock.monotonic()
        running.stop.set()
        await running.until(lambda: "pending" in worker.states())
        assert worker.clock.monotonic() - began_at < 1
        hung.set()
        await running.drain()
        assert worker.clock.monotonic() - began_at == pytest.approx(DRAIN_SECONDS / 2, abs=1)
        ((where, error, _),) = worker.observer.troubles
        assert (where, str(error)) == ("drain", "stopping the source took longer than 10 s")
        assert sorted(worker.states()) == ["delivered", "pending"]


async def test_a_full_worker_that_hangs_gives_back_at_once_and_stops_its_intake() -> None:
    """Its intake waits for room, which nobody makes any more."""
    async with Worker(limits=LaneLimits(held_max=4, in_flight_max=1, stall_seconds=1000), batch_max=4) as worker:
        running = Running(worker)
        await worker.endpoint("a")
        worker.sender.hang(A)
        await publish(worker, 4)
        await worker.sender.until_sent(1)
        assert worker.lanes.is_full
        worker.source.publish(body_of(id="evt_waits_for_room"))
        began_at = worker.clock.monotonic()
        running.stop.set()
        await running.until(lambda: worker.states().count("pending") >= 3)
        assert worker.clock.monotonic() - began_at < 1
        assert await running.drain() == pytest.approx(DRAIN_SECONDS - COMMIT_SECONDS_MAX, abs=1)
        assert not worker.observer.troubles
        assert all(not row.attempts for row in worker.database.deliveries.values())


async def test_another_worker_has_what_was_given_back_before_the_drain_ends() -> None:
    async with Worker(limits=LaneLimits(in_flight_max=1)) as worker, Worker(database=worker.database) as other:
        running, others = Running(worker), Running(other)
        await worker.endpoint("a")
        worker.sender.hang(A)
        await publish(worker, 50)
        await worker.sender.until_sent(1)
        running.stop.set()
        await running.until(lambda: worker.states().count("delivered") == 49)
        assert not running.ended.done()
        assert len(other.sender.requests) == 49
        for each in (running, others):
            await each.drain()
        assert not worker.observer.rescued
        assert not other.observer.rescued


@pytest.mark.parametrize("verb", ["claim_due", "record"])
async def test_a_database_that_hangs_in_one_place_keeps_nothing_else_from_ending(verb: str) -> None:
    """A claim or a recording may never return: the other leases go back, and what is in flight is finished."""
    async with Worker(limits=LaneLimits(in_flight_max=1)) as worker:
        running = Running(worker)
        await worker.endpoint("a")
        hung = worker.sender.hang(A)
        await publish(worker, 3)
        await worker.sender.until_sent(1)
        worker.store.hang(verb)
        worker.source.publish(body_of(id="evt_hangs"))
        await running.until(lambda: worker.store.calls[-1][0] == verb)
        began_at = worker.clock.monotonic()
        running.stop.set()
        await running.until(lambda: worker.states().count("pending") >= 2)
        assert worker.clock.monotonic() - began_at < 1
        hung.set()
        await running.until(lambda: "delivered" in worker.states())
        await running.drain()
        assert worker.clock.monotonic() - began_at == pytest.approx(
            DRAIN_SECONDS if verb == "claim_due" else DRAIN_SECONDS / 2, abs=1
        )


async def test_a_database_that_is_away_ends_the_drain_in_time() -> None:
    async with Worker() as worker:
        running = Running(worker)
        await worker.endpoint("a")
        worker.store.fail("settle", *[UnavailableError("away")] * 1000)
        await publish(worker, 1)
        await worker.observer.until(lambda seen: seen.troubles)
        assert await running.drain() == pytest.approx(DRAIN_SECONDS, abs=1)
        assert worker.observer.troubles[-1][0] == "drain"
        assert str(worker.observer.troubles[-1][1]).startswith("emptying the lanes took longer than")
        assert worker.states() == ["leased"]
