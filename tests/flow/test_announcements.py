"""Operational events on the road: announced, fanned out, signed, and never about themselves; refused from outside."""

import json
from typing import Any

import pytest

from service.core.deliveries.request import Reply
from service.core.endpoints.retry_schedule import RetrySchedule
from service.core.events.event import Rejected
from service.core.events.types.operational import OPERATIONAL
from service.core.reason import ParkReason
from tests.fakes.events import body_of, event_of
from tests.flow.worker import Worker
from webhook_signature import Webhook

WATCHING = "https://watching.example/"


def _start(worker: Worker) -> None:
    worker.start_settle()
    worker.start(worker.fan_out.run(), worker.dispatch.run())


def _told(worker: Worker, url: str = WATCHING) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in worker.sender.requests if request.url == url]


async def test_each_dead_delivery_is_one_signed_webhook() -> None:
    async with Worker(schedule=RetrySchedule(attempts_max=1)) as worker:
        await worker.endpoint("dying")
        watching = await worker.endpoint("watching", "delivery.*", "endpoint.*")
        worker.sender.script("https://dying.example/", *[Reply(500, 1)] * 5)
        await worker.intake.take_in([event_of(id=f"evt_{number}") for number in range(8)], "test")
        _start(worker)
        await worker.observer.until_settled(8 + 5)
        dead = [row for row in worker.database.deliveries.values() if row.state.value == "dead"]
        assert sorted(each["data"]["delivery"]["id"] for each in _told(worker)) == sorted(
            str(row.delivery.key) for row in dead
        )
        assert len(dead) == 5
        secret = worker.database.endpoints[watching].secrets[0].sealed.rpartition("|")[2]
        webhook = Webhook(secret, now=worker.clock.now().timestamp)
        for request in worker.sender.requests:
            if request.url == WATCHING:
                assert webhook.verify(request.body, dict(request.headers)).id == json.loads(request.body)["id"]


async def test_those_who_fail_at_announcements_hear_nothing_of_it() -> None:
    async with Worker(schedule=RetrySchedule(attempts_max=1)) as worker:
        await worker.endpoint("dying")
        await worker.endpoint("watching", "delivery.*", "endpoint.*")
        await worker.endpoint("gone", "delivery.*", "endpoint.*")
        worker.sender.script("https://gone.example/", Reply(410, 1))
        worker.sender.otherwise = Reply(500, 1)
        await worker.intake.take_in([event_of()], "test")
        _start(worker)
        await worker.observer.until_settled(3)
        assert [each["type"] for each in _told(worker)] == ["delivery.dead"]
        assert worker.database.fan_outs == {}
        assert len(worker.database.events) == 2
        assert sorted(worker.states()) == ["cancelled", "dead", "dead"]


async def test_a_filter_chooses_what_is_told() -> None:
    async with Worker(schedule=RetrySchedule(attempts_max=1)) as worker:
        await worker.endpoint("dying", "message.sent", "link.clicked")
        watching = await worker.endpoint("watching", "delivery.dead")
        wanted = {"match": {"data.delivery.event_type": {"eq": "link.clicked"}}}
        await worker.administration.set_endpoint(watching, filter=wanted)
        worker.sender.script("https://dying.example/", *[Reply(500, 1)] * 2)
        await worker.intake.take_in([event_of(), event_of(id="evt_2", type="link.clicked")], "test")
        _start(worker)
        await worker.observer.until_settled(3)
        assert [each["data"]["delivery"]["event_id"] for each in _told(worker)] == ["evt_2"]


@pytest.mark.parametrize("name", [*OPERATIONAL, "endpoint.anything", "delivery.anything"])
async def test_nobody_else_publishes_them(name: str) -> None:
    async with Worker(delivers=False) as worker:
        await worker.endpoint("watching", "delivery.*", "endpoint.*")
        (rejected,) = await worker.intake.take_in([event_of(type=name, data={})], "http")
        assert isinstance(rejected, Rejected)
        assert (rejected.reason, rejected.field) == (ParkReason.RESERVED_TYPE, "type")
        assert rejected.detail == f"only Posthorn itself publishes {name!r}; types of yours need another prefix"
        worker.source.publish(body_of(id="evt_2", type=name, data={}))
        worker.start_intake()
        await worker.source.until_acked(1)
        assert [reason for _, reason, _ in worker.source.parked] == [ParkReason.RESERVED_TYPE]
        assert worker.database.events == {}


async def test_whoever_subscribes_to_everything_is_told_nothing_new() -> None:
    async with Worker(schedule=RetrySchedule(attempts_max=1)) as worker:
        await worker.endpoint("everything", "*")
        worker.sender.script("https://everything.example/", Reply(500, 1))
        await worker.intake.take_in([event_of()], "test")
        _start(worker)
        await worker.observer.until_settled(1)
        assert len(worker.database.events) == 1
