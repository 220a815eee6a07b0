"""Days made, ended and dropped, and who is told."""

from datetime import timedelta

from service.flow.upkeep import retention
from service.ports.errors import UnavailableError
from service.ports.observer import AgesMeasured, DaysMade, DeliveriesExpired, EndpointAges, Trouble
from tests.fakes.events import event_of
from tests.flow.worker import Worker

DAY_SECONDS = timedelta(days=1).total_seconds()


async def _waiting(worker: Worker, count: int = 1) -> str:
    endpoint_id = await worker.endpoint("a")
    await worker.intake.take_in([event_of(id=f"evt_{number}") for number in range(count)], "test")
    return endpoint_id


async def test_days_are_kept_every_few_minutes() -> None:
    async with Worker(delivers=False) as worker:
        worker.start(worker.retention.run())
        for count in (1, 2, 3):
            await worker.clock.until_pauses(count)
            assert worker.observer.of(DaysMade) == [DaysMade(7)] * count
            worker.clock.advance(601)


async def test_an_endpoint_that_nears_the_end_is_told_once_a_day_and_ends_with_its_reason() -> None:
    async with Worker(delivers=False) as worker:
        endpoint_id = await _waiting(worker)
        await worker.administration.pause_endpoint("org_1", endpoint_id, paused=True)
        for _ in range(23):
            worker.clock.advance(DAY_SECONDS)
            await worker.retention.keep_once()
        assert not worker.observer.of(EndpointAges)
        for day in range(6):
            worker.clock.advance(DAY_SECONDS)
            await worker.retention.keep_once()
            await worker.retention.keep_once()
            told = worker.observer.of(EndpointAges)
            assert len(told) == day + 1
            assert (told[-1].ageing.endpoint_id, told[-1].ageing.gates) == (endpoint_id, ("paused",))
        assert worker.observer.of(AgesMeasured)[-1].ages.ratio > 0.9
        assert not worker.observer.of(DeliveriesExpired)
        worker.clock.advance(DAY_SECONDS)
        await worker.retention.keep_once()
        assert [each.expired.delivery_count for each in worker.observer.of(DeliveriesExpired)] == [1]
        assert worker.states() == ["dead"]
        worker.clock.advance(DAY_SECONDS)
        await worker.retention.keep_once()
        assert worker.states() == []
        assert worker.observer.of(AgesMeasured)[-1].ages.ratio == 0


async def test_a_day_that_could_not_be_dropped_is_tried_again_soon() -> None:
    async with Worker(delivers=False) as worker:
        await _waiting(worker)
        await worker.claim()
        worker.clock.advance(32 * DAY_SECONDS)
        worker.start(worker.retention.run())
        await worker.clock.until_pauses(1)
        assert worker.clock.pauses[-1] == retention.DROP_AGAIN_SECONDS
        worker.database.deliveries.clear()
        worker.clock.advance(retention.DROP_AGAIN_SECONDS)
        await worker.clock.until_pauses(2)
        assert worker.clock.pauses[-1] == retention.RETENTION_SECONDS


async def test_a_long_backlog_ends_in_batches() -> None:
    async with Worker(delivers=False) as worker:
        await _waiting(worker, retention.EXPIRE_BATCH_MAX + 1)
        worker.clock.advance(31 * DAY_SECONDS)
        await worker.retention.keep_once()
        counts = [each.expired.delivery_count for each in worker.observer.of(DeliveriesExpired)]
        assert counts == [retention.EXPIRE_BATCH_MAX, 1]


async def test_retention_outlives_the_database() -> None:
    async with Worker(delivers=False) as worker:
        worker.days.error = UnavailableError("away")
        worker.start(worker.retention.run())
        await worker.clock.until_pauses(1)
        assert [each.where for each in worker.observer.of(Trouble)] == ["retention"]
        worker.clock.advance(1)
        await worker.clock.until_pauses(2)
        assert worker.observer.of(DaysMade) == [DaysMade(7)]


async def test_tables_are_vacuumed_every_few_seconds() -> None:
    async with Worker(delivers=False) as worker:
        worker.start(worker.retention.run_vacuum())
        for count in (1, 2, 3):
            await worker.clock.until_pauses(count)
            assert worker.days.vacuums_count == count
            worker.clock.advance(10)
