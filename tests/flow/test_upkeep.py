"""The quiet duties."""

from service.core.reason import Reason
from service.ports.errors import UnavailableError
from tests.fakes.events import event_of
from tests.flow.worker import Worker


async def _leased(worker: Worker, count: int = 1) -> None:
    await worker.endpoint("a")
    await worker.intake.take_in([event_of(id=f"evt_{number}") for number in range(count)], "test")
    await worker.store.claim_due(count, per_endpoint_limit=count, room={})


async def test_an_expired_lease_becomes_a_lost_attempt() -> None:
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
            assert (attempt.reason, attempt.claim_number, attempt.is_counted) == (Reason.LOST, 2, True)


async def test_the_third_loss_in_a_row_ends_the_delivery() -> None:
    async with Worker(delivers=False) as worker:
        await _leased(worker)
        worker.start_settle()
        for _ in range(3):
            worker.clock.advance(61)
            await worker.upkeep.rescue_once()
            await worker.settle.drained()
            worker.clock.advance(61)
            await worker.store.claim_due(1, per_endpoint_limit=1, room={})
        (row,) = worker.database.deliveries.values()
        assert (row.state.value, row.reason) == ("dead", Reason.CRASHES_WORKER)
        assert len(row.attempts) == 3


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


async def test_partitions_are_kept() -> None:
    async with Worker(delivers=False) as worker:
        worker.start(worker.upkeep.run_retention())
        for count in (1, 2, 3):
            await worker.clock.until_pauses(count)
            assert worker.retention.kept_count == count
            worker.clock.advance(601)
