"""The loopback AMQP endpoint's queues, through an unchanged aio-pika: routing, order, prefetch, dead letters."""

import asyncio
from typing import cast

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from service.embedded.amqp import LoopbackBroker
from service.embedded.amqp.routing import topic_matches


def message(text: str) -> aio_pika.Message:
    return aio_pika.Message(text.encode(), message_id=text)


@pytest.mark.parametrize(
    ("pattern", "routing_key", "expected"),
    [
        ("message.sent", "message.sent", True),
        ("message.sent", "message.failed", False),
        ("message.*", "message.sent", True),
        ("message.*", "message", False),
        ("message.*", "message.sent.twice", False),
        ("*.sent", "message.sent", True),
        ("#", "", True),
        ("#", "message.sent", True),
        ("message.#", "message", True),
        ("message.#", "message.sent.twice", True),
        ("#.twice", "message.sent.twice", True),
        ("message.#.twice", "message.twice", True),
        ("message.#.twice", "message.sent.once", False),
        ("*", "", True),
        ("", "", True),
        ("", "message", False),
    ],
)
def test_topic_patterns(pattern: str, routing_key: str, *, expected: bool) -> None:
    assert topic_matches(pattern.split("."), routing_key.split(".")) is expected


async def test_exchanges_route_by_their_kind(channel: AbstractChannel) -> None:
    queue = await channel.declare_queue("q", durable=True)
    for kind, pattern in (("direct", "a.b"), ("topic", "a.*"), ("fanout", "")):
        exchange = await channel.declare_exchange(kind, kind, durable=True)
        await queue.bind(exchange, pattern)
        await exchange.publish(message(kind), "a.b")
        found = await queue.get()
        assert (found.body, found.exchange, found.routing_key) == (kind.encode(), kind, "a.b")
        await queue.unbind(exchange, pattern)
        with pytest.raises(aio_pika.exceptions.PublishError):
            await exchange.publish(message(kind), "a.b")


async def test_the_default_exchange_reaches_every_queue_by_its_name(channel: AbstractChannel) -> None:
    queue = await channel.declare_queue()
    assert queue.name.startswith("amq.gen-")
    await channel.default_exchange.publish(message("hello"), queue.name)
    found = await queue.get(no_ack=True)
    assert found.body == b"hello"
    assert await queue.get(fail=False) is None


async def test_iterating_with_prefetch_and_single_acks(channel: AbstractChannel, broker: LoopbackBroker) -> None:
    await channel.set_qos(prefetch_count=1)
    queue = await channel.declare_queue("q")
    for number in range(3):
        await channel.default_exchange.publish(message(str(number)), "q")
    seen: list[tuple[bytes, int]] = []
    async with queue.iterator() as arriving:
        async for found in arriving:
            seen.append((found.body, broker.queue_depth("q")))
            await found.ack()
            if len(seen) == 3:
                break
    assert seen == [(b"0", 2), (b"1", 1), (b"2", 0)]


async def test_consumers_take_turns(channel: AbstractChannel) -> None:
    queue = await channel.declare_queue("q")
    arrived: asyncio.Queue[str] = asyncio.Queue()

    async def consume(name: str) -> None:
        async def note(found: AbstractIncomingMessage) -> None:
            await arrived.put(name)
            await found.ack()

        await queue.consume(note)

    await consume("one")
    await consume("other")
    for number in range(4):
        await channel.default_exchange.publish(message(str(number)), "q")
    assert [await arrived.get() for _ in range(4)] == ["one", "other", "one", "other"]


async def test_requeueing_keeps_the_order_and_counts(channel: AbstractChannel) -> None:
    queue = await channel.declare_queue("q")
    for text in ("1", "2", "3"):
        await channel.default_exchange.publish(message(text), "q")
    [_, second] = [await queue.get(), await queue.get()]
    await second.channel.basic_nack(second.delivery_tag or 0, multiple=True, requeue=True)
    again = [await queue.get() for _ in range(3)]
    assert [(found.body, found.redelivered) for found in again] == [(b"1", True), (b"2", True), (b"3", False)]
    assert again[0].headers["x-delivery-count"] == 1
    await again[0].reject(requeue=True)
    assert (await queue.get()).headers["x-delivery-count"] == 2


async def test_what_is_rejected_or_returns_too_often_is_dead_lettered(channel: AbstractChannel) -> None:
    dead = await channel.declare_queue("dead")
    await dead.bind(await channel.declare_exchange("graves", "fanout"))
    queue = await channel.declare_queue("q", arguments={"x-dead-letter-exchange": "graves", "x-delivery-limit": 1})
    for text in ("rejected", "returned"):
        await channel.default_exchange.publish(message(text), "q")
    await (await queue.get()).reject(requeue=False)
    await (await queue.get()).nack(requeue=True)
    await (await queue.get()).nack(requeue=True)
    reasons = {}
    for _ in range(2):
        found = await dead.get(no_ack=True)
        deaths = cast("list[dict[str, str]]", found.headers["x-death"])
        reasons[found.body] = (deaths[0]["reason"], deaths[0]["queue"], found.exchange, found.routing_key)
        assert found.headers["x-first-death-queue"] == "q"
    assert reasons == {
        b"rejected": ("rejected", "q", "graves", "q"),
        b"returned": ("delivery_limit", "q", "graves", "q"),
    }


async def test_without_a_dead_letter_exchange_the_rejected_is_gone(
    channel: AbstractChannel, broker: LoopbackBroker
) -> None:
    queue = await channel.declare_queue("q")
    await channel.default_exchange.publish(message("1"), "q")
    await (await queue.get()).reject(requeue=False)
    assert (await channel.declare_queue("q", passive=True)).declaration_result.message_count == 0
    assert broker.queue_depth("q") == 0


async def test_purging_and_deleting(channel: AbstractChannel, broker: LoopbackBroker) -> None:
    queue = await channel.declare_queue("q")
    await channel.default_exchange.publish(message("1"), "q")
    purged = await queue.purge()
    assert purged.message_count == 1
    await queue.delete()
    with pytest.raises(KeyError):
        broker.queue_depth("q")
    exchange = await channel.declare_exchange("x", "direct")
    await exchange.delete()
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await channel.declare_exchange("x", passive=True)
