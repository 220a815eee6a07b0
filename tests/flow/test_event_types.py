"""An organization's own types on the road, judging before recording, and test sends."""

import asyncio
import json
from typing import Any

import pytest

from service.core.events.event import Event, Rejected
from service.core.events.judged import Judged
from service.core.reason import ParkReason
from service.ports.errors import RefusedError
from service.ports.store import Disposition
from tests.fakes.events import body_of, event_of
from tests.fakes.schemas import DOUBLING
from tests.flow.worker import Worker

SCHEMA = json.dumps(
    {
        "type": "object",
        "required": ["order"],
        "properties": {"order": {"required": ["id"], "properties": {"id": {"type": "string"}}}},
    }
)
GOOD = {"order": {"id": "ord_1"}}


def _order(event_id: str = "evt_1", data: Any = GOOD, **changes: Any) -> Event:
    return event_of(id=event_id, type="order.placed", data=data, **changes)


async def test_an_own_type_is_delivered_and_a_bad_one_parked_with_the_field() -> None:
    async with Worker(delivers=False) as worker:
        await worker.administration.register_event_type("org_1", "order.placed", SCHEMA)
        await worker.endpoint("a", "order.placed")
        worker.source.publish(body_of(id="evt_1", type="order.placed", data=GOOD))
        worker.source.publish(body_of(id="evt_2", type="order.placed", data={"order": {"id": 1}}))
        worker.source.publish(body_of(id="evt_3", type="order.shipped", data=GOOD))
        worker.start_intake()
        await worker.source.until_acked(3)
        assert [row.delivery.event_id for row in worker.database.deliveries.values()] == ["evt_1"]
        assert [(reason, detail.partition(":")[0]) for _, reason, detail in worker.source.parked] == [
            (ParkReason.BAD_DATA, "data.order.id"),
            (ParkReason.UNKNOWN_TYPE, "type"),
        ]


async def test_a_type_registered_before_the_publish_is_known_at_once_and_looked_up_once_a_batch() -> None:
    async with Worker(delivers=False) as worker:
        await worker.intake.take_in([event_of(id="evt_0")], "test")  # the directory in memory knows no type
        await worker.administration.register_event_type("org_1", "order.placed", SCHEMA)
        batch = [_order(f"evt_{number}") for number in range(1, 4)]
        assert await worker.intake.take_in(batch, "test") == [Disposition.RECORDED] * 3
        assert len(worker.subscriptions.loads) == 2
        unknown = [event_of(id=f"evt_{number}", type="no.such", data={}) for number in range(4, 8)]
        outcomes = await worker.intake.take_in([*unknown, _order("evt_9")], "test")
        assert [getattr(outcome, "reason", outcome) for outcome in outcomes] == [ParkReason.UNKNOWN_TYPE] * 4 + [
            Disposition.RECORDED
        ]
        assert len(worker.subscriptions.loads) == 3


async def test_a_type_is_its_organizations_alone() -> None:
    async with Worker(delivers=False) as worker:
        await worker.administration.create_organization("org_2")
        await worker.administration.register_event_type("org_1", "order.placed", SCHEMA)
        mine, theirs, nobodys = await worker.intake.judge(
            [_order(), _order(organization_id="org_2"), _order(organization_id="org_3")]
        )
        assert mine == Judged(_order())
        assert isinstance(theirs, Rejected)
        assert isinstance(nobodys, Rejected)
        assert (theirs.reason, nobodys.reason) == (ParkReason.UNKNOWN_TYPE, ParkReason.UNKNOWN_ORGANIZATION)
        assert not worker.database.events


async def test_what_was_judged_is_not_judged_again_and_its_organization_may_be_gone() -> None:
    async with Worker(delivers=False) as worker:
        await worker.administration.register_event_type("org_1", "order.placed", SCHEMA)
        (judged,) = await worker.intake.judge([_order()])
        assert isinstance(judged, Judged)
        del worker.database.versions["org_1"]
        (why,) = await worker.intake.record([judged], "http")
        assert isinstance(why, Rejected)
        assert why.reason is ParkReason.UNKNOWN_ORGANIZATION


async def test_an_organization_removed_while_its_type_is_looked_up() -> None:
    async with Worker(delivers=False) as worker:
        await worker.directory.of(["org_1"])
        del worker.database.versions["org_1"]
        (why,) = await worker.intake.judge([_order()])
        assert isinstance(why, Rejected)
        assert why.reason is ParkReason.UNKNOWN_ORGANIZATION


async def test_judging_a_large_batch_lets_others_have_their_turn() -> None:
    async with Worker(delivers=False) as worker:
        await worker.administration.register_event_type("org_1", "order.placed", SCHEMA)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        worker.start(others())
        await worker.intake.judge([_order(f"evt_{number}") for number in range(50)])
        assert turns >= 50


async def test_a_schema_that_cannot_be_run_parks_the_event_and_intake_lives_on() -> None:
    async with Worker(delivers=False) as worker:
        circle = json.dumps({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}})
        await worker.administration.register_event_type("org_1", "order.placed", circle)
        await worker.administration.register_event_type("org_1", "order.shipped", "{no schema")
        worker.source.publish(body_of(id="evt_1", type="order.placed", data=GOOD))
        worker.source.publish(body_of(id="evt_2", type="order.shipped", data=GOOD))
        worker.source.publish(body_of(id="evt_3"))
        worker.start_intake()
        await worker.source.until_acked(3)
        assert [reason for _, reason, _ in worker.source.parked] == [ParkReason.BAD_DATA] * 2
        assert [event_id for _, event_id in worker.database.events] == ["evt_3"]


# --------------------------------------------------------------------------- test sends


async def test_a_test_goes_to_one_endpoint_through_what_fits_best_and_waits_for_a_claim() -> None:
    async with Worker() as worker:
        await worker.endpoint("a", "message.sent")
        endpoint_id = await worker.endpoint("b", "link.clicked", "*", "message.*", "message.sent")
        for number, (event_type, fits) in enumerate(
            [("message.sent", "message.sent"), ("message.failed", "message.*"), ("link.clicked", "link.clicked")]
        ):
            event = event_of(id=f"evt_{number}", type=event_type, test=True)
            key = await worker.intake.send_test(event, endpoint_id)
            assert key is not None
            assert worker.database.subscriptions[key.subscription_id].event_type == fits
        assert worker.states() == ["pending"] * 3
        assert worker.lanes.held == 0


async def test_a_test_of_a_type_nobody_asked_for_takes_the_first_subscription() -> None:
    async with Worker() as worker:
        endpoint_id = await worker.endpoint("a", "link.clicked", "message.failed")
        key = await worker.intake.send_test(event_of(test=True), endpoint_id)
        assert key is not None
        assert worker.database.subscriptions[key.subscription_id].event_type == "link.clicked"


async def test_an_endpoint_made_a_moment_ago_can_be_tested_and_a_removed_one_cannot() -> None:
    async with Worker() as worker:
        await worker.directory.of(["org_1"])
        endpoint_id = await worker.endpoint("a")
        assert await worker.intake.send_test(event_of(test=True), endpoint_id) is not None
        await worker.administration.remove_endpoint("org_1", endpoint_id)
        assert await worker.intake.send_test(event_of(id="evt_2", test=True), endpoint_id) is None
        assert await worker.intake.send_test(event_of(id="evt_3", organization_id="org_2"), endpoint_id) is None
        assert len(worker.database.events) == 1


async def test_a_test_event_is_recorded_however_often_the_directory_changes() -> None:
    async with Worker() as worker:
        endpoint_id = await worker.endpoint("a")
        worker.subscriptions.is_changing.add("org_1")
        await worker.directory.of(["org_1"])
        assert await worker.intake.send_test(event_of(test=True), endpoint_id) is not None
        assert worker.states() == ["pending"]


async def test_a_test_event_has_an_id_of_its_own() -> None:
    async with Worker() as worker:
        endpoint_id = await worker.endpoint("a")
        await worker.intake.send_test(event_of(test=True), endpoint_id)
        with pytest.raises(ValueError, match="must be unused"):
            await worker.intake.send_test(event_of(test=True), endpoint_id)
        worker.store.refuses_event = lambda _: True
        with pytest.raises(RefusedError):
            await worker.intake.send_test(event_of(id="evt_2", test=True), endpoint_id)


async def test_the_loop_does_not_wait_for_a_schema_that_takes_long() -> None:
    turns = 0
    has_ended = asyncio.Event()

    async def turn() -> None:
        nonlocal turns
        while not has_ended.is_set():
            turns += 1
            await asyncio.sleep(0)

    async with Worker(delivers=False) as worker:
        await worker.administration.register_event_type("org_1", "order.placed", DOUBLING)
        turning = asyncio.create_task(turn())
        (judged,) = await worker.intake.judge([_order(data={"a": 1})])
        has_ended.set()
        await turning
    assert judged == Judged(_order(data={"a": 1}))
    assert turns > 50
