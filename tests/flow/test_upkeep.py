"""The quiet duties."""

import random
from collections import Counter

from service.core.reason import Reason
from service.ports.errors import UnavailableError
from tests.fakes.delivery_store import alike
from tests.fakes.events import event_of
from tests.flow.worker import Worker


async def _leased(worker: Worker, count: int = 1) -> None:
    await worker.endpoint("a")
    await worker.intake.take_in([event_of(id=f"evt_{number}") for number in range(count)], "test")
    await worker.store.claim_due(alike(count))


async def test_an_expired_lease_becomes_a_lost_attempt_that_is_not_counted() -> None:
    async with Worker(delivers=False) as worker:
        await _leased(worker, 3)
        worker.start_settle()
        assert await worker.upkeep.rescue_once() == 0
        worker.clock.advance(61)
        assert await worker.upkeep.rescue_once() == 3
        await worker.settle.drained()
        assert worker.observer.rescued == [3]
        for row in worker.database.deliveries.values():
            assert (row.state.value, row.reason, row.delivery.lost_in_a_row) == ("pending", Reason.LOST, 1)
            (attempt,) = row.attempts
            assert (attempt.reason, attempt.claim_number, attempt.is_counted) == (Reason.LOST, 2, False)


async def _lose(worker: Worker, *, begins: bool) -> None:
    """Rescue what was lost, and have somebody claim it who is lost in turn."""
    worker.clock.advance(61)
    await worker.upkeep.rescue_once()
    await worker.settle.drained()
    worker.clock.advance(61)
    await worker.claim(begins=begins)


async def test_the_third_loss_in_a_row_of_a_post_that_began_ends_the_delivery() -> None:
    async with Worker(delivers=False) as worker:
        await _leased(worker)
        worker.start_settle()
        for _ in range(4):
            assert worker.states() == ["leased"]
            await _lose(worker, begins=True)
        (row,) = worker.database.deliveries.values()
        assert (row.state.value, row.reason) == ("dead", Reason.CRASHES_WORKER)
        assert [attempt.is_counted for attempt in row.attempts] == [False, True, True, True]


async def test_workers_that_are_lost_before_they_begin_end_no_delivery() -> None:
    async with Worker(delivers=False) as worker:
        await _leased(worker, 400)
        worker.start_settle()
        for _ in range(10):
            await _lose(worker, begins=False)
        assert worker.states() == ["leased"] * 400
        assert {row.delivery.attempts_made for row in worker.database.deliveries.values()} == {0}
        assert {len(row.attempts) for row in worker.database.deliveries.values()} == {1}


async def test_what_is_rescued_together_does_not_come_back_together() -> None:
    dice = random.Random(1)  # noqa: S311 - no secret
    async with Worker(delivers=False, draw=dice.uniform) as worker:
        await _leased(worker, 400)
        worker.start_settle()
        worker.clock.advance(61)
        await worker.upkeep.rescue_once()
        await worker.settle.drained()
        due = Counter(int(row.next_attempt_at - worker.database.now) for row in worker.database.deliveries.values())
        assert set(due) == set(range(10))
        assert max(due.values()) < 80


async def test_rescue_outlives_the_database() -> None:
    async with Worker(delivers=False) as worker:
        await _leased(worker)
        worker.clock.advance(61)
        worker.store.fail("rescue", UnavailableError("away"))
        worker.start_settle()
        worker.start(worker.upkeep.run_rescue())
        await worker.clock.until_pauses(1)
        worker.clock.advance(1)
        await worker.observer.until(lambda seen: seen.settled)
        await worker.clock.until_pauses(2)
        assert worker.clock.pauses[1] == 10.0


async def test_the_backlog_is_measured_again_and_again() -> None:
    async with Worker(delivers=False) as worker:
        worker.start(worker.upkeep.run_backlog())
        await worker.clock.until_pauses(1)
        assert worker.observer.backlogs[0].due_count == 0
        await worker.endpoint("a")
        await worker.intake.take_in([event_of()], "test")
        worker.clock.advance(10)
        await worker.clock.until_pauses(2)
        assert (worker.observer.backlogs[1].due_count, worker.observer.backlogs[1].oldest_due_age_seconds) == (1, 10.0)
