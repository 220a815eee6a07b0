"""Endpoints that fail for days, judged every minute."""

import json
from datetime import timedelta

from service.core.deliveries.request import Reply
from service.core.endpoints.gates.breaker import Breaker
from service.core.endpoints.gates.failing import ATTEMPTS_MIN, Stage
from service.core.endpoints.retry_schedule import RetrySchedule
from service.flow.upkeep.failing import JUDGE_BATCH_MAX
from service.ports.errors import UnavailableError
from service.ports.observer import EndpointJudged, EndpointRecovers, Trouble
from tests.fakes.clock import START
from tests.fakes.events import event_of
from tests.flow.worker import Worker

DAY_SECONDS = 86_400.0


async def _fail(worker: Worker, name: str = "failing", count: int = ATTEMPTS_MIN) -> str:
    endpoint_id = await worker.endpoint(name)
    worker.sender.script(f"https://{name}.example/", *[Reply(500, 1)] * count)
    await worker.intake.take_in([event_of(id=f"evt_{name}_{number}") for number in range(count)], "test")
    worker.start_settle()
    worker.start(worker.fan_out.run(), worker.dispatch.run())
    await worker.observer.until_settled(count)
    return endpoint_id


async def test_a_disabled_endpoint_is_sent_nothing_until_it_is_resumed() -> None:
    schedule = RetrySchedule(base_seconds=60, attempts_max=100, age_max_seconds=30 * DAY_SECONDS)
    async with Worker(schedule=schedule) as worker:
        await worker.endpoint("watching", "endpoint.*")
        failing = await _fail(worker)
        for row in worker.database.deliveries.values():
            row.next_attempt_at += 30 * DAY_SECONDS
        worker.clock.advance(6 * DAY_SECONDS)
        assert not await worker.failing.judge_once()
        assert [each.reached.stage for each in worker.observer.of(EndpointJudged)] == [Stage.DISABLED]
        worker.fan_out.wake()
        await worker.observer.until_settled(ATTEMPTS_MIN + 1)
        for row in worker.database.deliveries.values():
            row.next_attempt_at = worker.clock.monotonic()
        assert not await worker.claim()
        await worker.administration.pause_endpoint("org_1", failing, paused=False)
        worker.dispatch.wake()
        await worker.observer.until_settled(2 * ATTEMPTS_MIN + 1)
        await worker.failing.judge_once()
        assert [each.recovery.was_disabled for each in worker.observer.of(EndpointRecovers)] == [True]
        worker.fan_out.wake()
        await worker.observer.until_settled(2 * ATTEMPTS_MIN + 2)
        told = [json.loads(each.body)["type"] for each in worker.sender.requests if "watching" in each.url]
        assert told == ["endpoint.disabled", "endpoint.recovered"]
        assert set(worker.states()) == {"delivered"}


async def test_endpoints_are_judged_every_minute_though_the_database_was_away() -> None:
    async with Worker(delivers=False) as worker:
        failing = await worker.endpoint("failing")
        worker.failing_store.errors.append(UnavailableError("away"))
        worker.start(worker.failing.run())
        await worker.clock.until_pauses(1)
        assert [each.where for each in worker.observer.of(Trouble)] == ["failing"]
        worker.database.breakers[failing] = Breaker(START - timedelta(days=3), 7)
        worker.clock.advance(10)
        await worker.clock.until_pauses(2)
        assert [each.reached.stage for each in worker.observer.of(EndpointJudged)] == [Stage.WARNED]
        del worker.database.breakers[failing]
        worker.clock.advance(73)
        await worker.clock.until_pauses(3)
        assert [each.recovery.endpoint_id for each in worker.observer.of(EndpointRecovers)] == [failing]


async def test_many_that_fail_are_judged_in_batches_without_a_pause() -> None:
    async with Worker(delivers=False) as worker:
        for number in range(JUDGE_BATCH_MAX + 1):
            failing = await worker.endpoint(f"failing-{number}")
            worker.database.breakers[failing] = Breaker(START - timedelta(days=3), 7)
        worker.start(worker.failing.run())
        await worker.clock.until_pauses(1)
        assert len(worker.observer.of(EndpointJudged)) == JUDGE_BATCH_MAX + 1
