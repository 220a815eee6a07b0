"""What every event source must do with a message that cannot be an event: set it aside once, losing nothing."""

import asyncio
from contextlib import suppress

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.base import Frame
from pamqp.commands import Basic
from pamqp.common import FieldTable

from service.adapters.rabbitmq import parker
from service.adapters.rabbitmq.publisher import Outlet, Publication
from service.adapters.rabbitmq.topology import declare_topology
from service.core.events.event import BODY_BYTES_MAX
from service.core.reason import ParkReason
from service.core.timestamp import parse_timestamp
from service.embedded.amqp import LoopbackBroker, channel
from service.embedded.amqp.wire import content_bytes
from service.ports.errors import UnavailableError
from service.ports.source import Topology
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
    headers = dict(properties.headers or {})
    assert parse_timestamp(headers.pop("x-posthorn-parked-at")) is not None
    assert headers == {
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


@pytest.mark.parametrize("missing", ["queue", "exchange"])
async def test_a_parked_queue_that_is_missing_is_declared_again(bench: Bench, troubles: Troubles, missing: str) -> None:
    await bench.publish(b"poison")
    source = await bench.source(troubles)
    [message] = await take(source, 1)
    channel = await bench.channel()
    await channel.queue_delete(bench.topology.parked)
    if missing == "exchange":
        await channel.exchange_delete(bench.topology.parked)
    await source.park(message, ParkReason.BAD_JSON, "not JSON")
    assert "1 messages cannot be parked now" in str(await troubles.next())
    await source.close()  # parks before it ends
    assert set(troubles.wheres) == {"park"}
    assert (await (await bench.parked()).get()).body == b"poison"


async def test_a_connection_lost_in_the_middle_of_a_returned_message_ends_no_parking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuts = 1

    def cut_bytes(number: int, method: Frame, properties: bytes, body: bytes) -> bytes:
        nonlocal cuts
        whole = content_bytes(number, method, properties, body)
        if not isinstance(method, Basic.Return) or not cuts:
            return whole
        cuts -= 1
        asyncio.get_running_loop().call_soon(broker.drop_connections)
        return whole[: -len(body) // 2]

    monkeypatch.setattr(channel, "content_bytes", cut_bytes)
    returned: list[None] = []
    async with LoopbackBroker() as broker:
        await declare_topology(broker.url, Topology("test"))
        outlet = Outlet(broker.url, "test", on_return=lambda: returned.append(None))
        for _ in range(2):
            with suppress(UnavailableError):
                await outlet.publish(bytes(200_000), exchange="", routing_key="no queue", properties=Basic.Properties())
        await outlet.publish(b"", exchange="test.parked", routing_key="", properties=Basic.Properties())
        await outlet.close()
    assert (cuts, len(returned)) == (0, 1)


async def test_without_a_parked_queue_others_go_on_and_nothing_is_lost(bench: Bench, troubles: Troubles) -> None:
    await bench.publish(b"1", b"poison", b"3", b"4")
    channel = await bench.channel()
    await channel.queue_delete(bench.topology.parked)
    source = await bench.source(troubles, declare="passive", prefetch=3)
    batch = await take(source, 3)
    await source.park(batch[1], ParkReason.BAD_JSON, "not JSON")
    await source.ack(batch)
    assert bodies(await take(source, 1)) == [b"4"]  # there is room for it again
    while "1 messages cannot be parked now" not in str(await troubles.next()):
        pass
    assert await bench.waiting_count(bench.topology.intake_queue) == 0
    parked = await bench.parked()
    assert (await parked.get()).body == b"poison"
    await source.close()
    again = await bench.source(declare="passive")
    assert [(message.body, message.is_redelivered) for message in await take(again, 1)] == [(b"4", True)]
    assert parked.empty()


@pytest.mark.parametrize("dead_letters", [True, False])
async def test_what_is_too_large_leaves_a_notice_where_nobody_knows_whether_the_queue_dead_letters(
    bench: Bench, troubles: Troubles, *, dead_letters: bool
) -> None:
    await declare_topology(bench.url, bench.topology)
    if not dead_letters:
        channel, queue = await bench.channel(), bench.topology.intake_queue
        await channel.queue_delete(queue)
        await channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        await channel.queue_bind(queue, bench.topology.events_exchange, "#")
    large = bytes(BODY_BYTES_MAX + 1)
    await (await bench.publisher()).publish(Publication(large, "message.sent", message_id="large"))
    source = await bench.source(troubles, declare="passive")
    [message] = await take(source, 1)
    assert message.fault
    await source.park(message, message.fault.reason, message.fault.detail)
    await source.ack([message])
    parked = await bench.arrivals(bench.topology.parked)
    notice = await parked.get()
    assert notice.header.properties.message_id == "large"
    assert (notice.header.properties.headers or {})["x-posthorn-reason"] == "too_large"
    assert f"{len(large)} bytes" in str((notice.header.properties.headers or {})["x-posthorn-detail"])
    assert notice.body == b""
    if dead_letters:
        assert (await parked.get()).body == large
    await source.close()
    assert await bench.waiting_count(bench.topology.intake_queue) == 0
    assert parked.empty()
    assert troubles.errors == []


async def test_when_all_that_may_be_held_waits_to_be_parked_that_is_said(bench: Bench, troubles: Troubles) -> None:
    await bench.publish(b"poison", b"more poison", b"good")
    await (await bench.channel()).queue_delete(bench.topology.parked)
    source = await bench.source(troubles, declare="passive", prefetch=2)
    batch = await take(source, 2)
    for message in batch:
        await source.park(message, ParkReason.BAD_JSON, "not JSON")
    await source.ack(batch)
    while "all that this process may hold (2), nothing else arrives" not in str(await troubles.next()):
        pass
    await declare_topology(bench.url, bench.topology)
    assert bodies(await take(source, 1)) == [b"good"]


async def test_what_cannot_be_parked_before_the_end_goes_back_to_the_queue(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parker, "LAST_TRY_SECONDS_MAX", 0.2)
    await bench.publish(b"1", b"poison")
    await (await bench.channel()).queue_delete(bench.topology.parked)
    source = await bench.source(declare="passive")
    batch = await take(source, 2)
    await source.park(batch[1], ParkReason.BAD_JSON, "not JSON")
    await source.ack(batch)
    await source.close()
    again = await bench.source(declare="passive")
    assert [(message.body, message.is_redelivered) for message in await take(again, 1)] == [(b"poison", True)]


async def test_a_full_parked_queue_holds_up_nobody(bench: Bench, troubles: Troubles) -> None:
    await bench.publish(b"1")
    channel = await bench.channel()
    await channel.queue_delete(bench.topology.parked)
    limits: FieldTable = {**bench.topology.parked_arguments, "x-max-length": 1, "x-overflow": "reject-publish"}
    await channel.queue_declare(bench.topology.parked, durable=True, arguments=limits)
    await channel.queue_bind(bench.topology.parked, bench.topology.parked)
    source = await bench.source(troubles)  # it declares other limits: that is told, and is no reason to take nothing
    assert "exists with other properties" in str(await troubles.next())
    await source.ack(await take(source, 1))
    poison = [b"poison %d" % number for number in range(20)]  # RabbitMQ lets a few more in than the limit says
    for number, body in enumerate(poison):
        await bench.publish_only(body, b"good %d" % number)
        batch = await take(source, 2)
        await source.park(batch[0], ParkReason.BAD_JSON, "not JSON")
        await source.ack(batch)
    while "is full" not in str(await troubles.next()):
        pass
    await bench.publish_only(b"good")
    assert bodies(await take(source, 1)) == [b"good"]
    found = {(await channel.basic_get(bench.topology.parked, no_ack=True)).body for _ in range(1)}
    consumed = asyncio.Queue[DeliveredMessage]()
    await channel.basic_consume(bench.topology.parked, consumed.put, no_ack=True)  # a person makes room
    while len(found) < len(poison):
        found.add((await consumed.get()).body)
    assert found == set(poison)


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
