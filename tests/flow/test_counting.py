"""Ended deliveries are counted every few seconds, and sooner while there is more."""

from service.flow.upkeep import counting
from service.ports.errors import UnavailableError
from service.ports.observer import DeliveriesCounted, Trouble
from tests.fakes.events import event_of
from tests.flow.worker import Worker


async def _delivered(worker: Worker, count: int) -> None:
    await worker.intake.take_in([event_of(id=f"evt_{number}") for number in range(count)], "test")
    worker.start_settle()
    worker.start(worker.dispatch.run())
    await worker.observer.until_settled(count)


async def test_what_ended_before_and_since_is_counted_once() -> None:
    async with Worker() as worker:
        await worker.endpoint("a")
        await _delivered(worker, 3)
        worker.clock.advance(60)
        assert await worker.counting.count_once(), "what had ended before is still to be counted"
        assert not await worker.counting.count_once()
        assert set(worker.counts.counted) == set(worker.database.deliveries)
        assert len(worker.counts.counted) == 3
        assert [each.count for each in worker.observer.of(DeliveriesCounted)] == [0, 0]


async def test_it_rests_for_longer_once_everything_is_counted() -> None:
    async with Worker(delivers=False) as worker:
        worker.counts.errors.append(UnavailableError("away"))
        worker.start(worker.counting.run())
        await worker.clock.until_pauses(1)
        assert [each.where for each in worker.observer.of(Trouble)] == ["counting"]
        worker.clock.advance(worker.clock.pauses[-1])
        await worker.clock.until_pauses(2)
        assert worker.clock.pauses[-1] >= counting.BACK_SECONDS
