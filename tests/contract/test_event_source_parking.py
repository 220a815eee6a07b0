"""What every event source must do with a message that cannot be an event: set it aside once, losing nothing."""

import pytest

from service.adapters.rabbitmq.publisher import Publication
from service.adapters.rabbitmq.topology import declare_topology
from service.core.reason import ParkReason
from service.ports.errors import UnavailableError
from tests.contract.broker_rig import Bench, Troubles, bodies, take


async def test_a_parked_message_keeps_its_bytes_and_says_why(bench: Bench) -> None:
    await declare_topology(bench.url, bench.topology)
    source = await bench.source()
    publisher = await bench.publisher()
    await publisher.publish(
        Publication(b"\xff not json", "message.sent", message_id="evt_1", headers={"traceparent": "00-1-2-01"})
    )
    [message] = await take(source, 1)
    await source.park(message, ParkReason.INVALID_UTF8, "not UTF-8 at byte 0")
    await source.ack([message])

    parked = await (await bench.parked()).get()
    properties = parked.header.properties
    assert parked.body == b"\xff not json"
    assert (properties.message_id, properties.content_type) == ("evt_1", "application/json")
    assert (properties.message_type, properties.app_id, properties.delivery_mode) == ("message.sent", "test", 2)
    assert properties.headers == {
        "traceparent": "00-1-2-01",
        "x-posthorn-reason": "invalid_utf8",
        "x-posthorn-detail": "not UTF-8 at byte 0",
        "x-posthorn-exchange": bench.topology.events_exchange,
        "x-posthorn-routing-key": "message.sent",
    }


async def test_poison_is_parked_once_and_the_rest_of_its_batch_goes_on(bench: Bench) -> None:
    await bench.publish(b"1", b"poison", b"3")
    first = await bench.source()
    batch = await take(first, 3)
    await first.park(batch[1], ParkReason.BAD_JSON, "not JSON")
    await first.ack(batch)
    await first.close()
    await bench.publish(b"4")
    assert bodies(await take(await bench.source(), 1)) == [b"4"]
    parked = await bench.parked()
    assert (await parked.get()).body == b"poison"
    assert await bench.waiting_count(bench.topology.parked) == 0
    assert parked.empty()


async def test_parking_again_before_the_ack_parks_once(bench: Bench) -> None:
    await bench.publish(b"poison", b"other poison")
    source = await bench.source()
    batch = await take(source, 2)
    for message in (batch[0], *batch):
        await source.park(message, ParkReason.BAD_JSON, "not JSON")
    await source.ack(batch)
    parked = await bench.parked()
    assert [(await parked.get()).body for _ in range(2)] == [b"poison", b"other poison"]
    assert await bench.waiting_count(bench.topology.parked) == 0
    assert parked.empty()


async def test_a_message_whose_channel_is_gone_is_parked_when_it_comes_again(bench: Bench, troubles: Troubles) -> None:
    source = await bench.source(troubles, relayed=True)
    await bench.publish(b"poison")
    [old] = await take(source, 1)
    bench.relay.cut()
    await troubles.next()
    await source.park(old, ParkReason.BAD_JSON, "not JSON")
    [again] = await take(source, 1)
    parked = await bench.parked()
    assert parked.empty()
    await source.park(again, ParkReason.BAD_JSON, "not JSON")
    assert (await parked.get()).body == b"poison"
    assert parked.empty()


async def test_parking_that_is_not_confirmed_raises_and_the_message_stays(bench: Bench) -> None:
    await bench.publish(b"poison")
    source = await bench.source()
    [message] = await take(source, 1)
    await (await bench.channel()).queue_delete(bench.topology.parked)
    with pytest.raises(UnavailableError, match="parked"):
        await source.park(message, ParkReason.BAD_JSON, "not JSON")
    await (await bench.channel()).exchange_delete(bench.topology.parked)
    with pytest.raises(UnavailableError):
        await source.park(message, ParkReason.BAD_JSON, "not JSON")
    await declare_topology(bench.url, bench.topology)
    await source.park(message, ParkReason.BAD_JSON, "not JSON")
    assert (await (await bench.parked()).get()).body == b"poison"


async def test_a_message_that_comes_back_too_often_is_parked_by_the_broker(bench: Bench, troubles: Troubles) -> None:
    source = await bench.source(troubles, relayed=True)
    await bench.publish(b"kills us")
    parked = await bench.parked()
    for delivery in range(bench.topology.delivery_limit + 1):
        [message] = await take(source, 1)
        assert message.is_redelivered == (delivery > 0)
        assert parked.empty()
        bench.relay.cut()
        await troubles.next()
    dead = await parked.get()
    headers = dead.header.properties.headers or {}
    assert (dead.body, dead.routing_key) == (b"kills us", "message.sent")
    assert headers["x-first-death-reason"] == "delivery_limit"
    assert headers["x-first-death-queue"] == bench.topology.intake_queue


async def test_after_stop_what_was_taken_can_be_parked(bench: Bench) -> None:
    await bench.publish(b"poison")
    source = await bench.source()
    [message] = await take(source, 1)
    await source.stop()
    await source.park(message, ParkReason.BAD_JSON, "not JSON")
    assert (await (await bench.parked()).get()).body == b"poison"
