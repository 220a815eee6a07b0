"""The loopback AMQP endpoint's conversations: what it answers, what it refuses, and how it breaks off on request."""

import asyncio

import aio_pika
import aiormq
import pytest
from aio_pika.abc import AbstractChannel
from pamqp.commands import Basic, Connection
from pamqp.frame import marshal
from pamqp.heartbeat import Heartbeat
from yarl import URL

from service.embedded.amqp import LoopbackBroker
from service.embedded.amqp.wire import PREAMBLE, read_frame


def port_of(broker: LoopbackBroker) -> int:
    return URL(broker.url).port or 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104 - refused is the point
def test_it_refuses_to_serve_anyone_but_this_machine(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        LoopbackBroker(host)


async def test_a_large_message_crosses_in_many_frames(channel: AbstractChannel) -> None:
    queue = await channel.declare_queue("q")
    body = bytes(range(256)) * 4000
    await channel.default_exchange.publish(aio_pika.Message(body), "q")
    assert (await queue.get(no_ack=True)).body == body


async def test_an_exclusive_queue_goes_with_its_connection(broker: LoopbackBroker) -> None:
    async with await aio_pika.connect(broker.url) as connection:
        queue = await (await connection.channel()).declare_queue(exclusive=True)
        assert broker.queue_depth(queue.name) == 0
    async with await aio_pika.connect(broker.url) as connection:
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await (await connection.channel()).declare_queue(queue.name, passive=True)


async def test_differences_close_the_channel_and_only_the_channel(broker: LoopbackBroker) -> None:
    async with aiormq.connect(broker.url) as connection:
        channel = await connection.channel()
        await channel.queue_declare("q", durable=True, arguments={"x-delivery-limit": 5})
        await channel.exchange_declare("x", exchange_type="topic")
        with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed, match=r"x-delivery-limit.*'6'.*'5'"):
            await channel.queue_declare("q", durable=True, arguments={"x-delivery-limit": 6})
        channel = await connection.channel()
        with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed, match="durable"):
            await channel.queue_declare("q", arguments={"x-delivery-limit": 5})
        channel = await connection.channel()
        with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed, match="type"):
            await channel.exchange_declare("x", exchange_type="fanout")
        channel = await connection.channel()
        with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity, match="nowhere"):
            await channel.basic_publish(b"", exchange="nowhere", routing_key="k")
        channel = await connection.channel()
        await channel.basic_ack(99)
        with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed, match="delivery tag 99"):
            await channel.closing


async def test_what_it_does_not_speak_ends_the_connection(broker: LoopbackBroker) -> None:
    async with aiormq.connect(broker.url) as connection:
        channel = await connection.channel()
        with pytest.raises(aiormq.exceptions.ConnectionNotImplemented, match="not RabbitMQ"):
            await channel.tx_select()


async def test_another_protocol_is_answered_with_ours(broker: LoopbackBroker) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(broker))
    writer.write(b"GET / HT")
    assert await reader.read() == PREAMBLE
    writer.close()
    await writer.wait_closed()


async def test_a_heartbeat_is_answered_with_one(broker: LoopbackBroker) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(broker))
    writer.write(PREAMBLE)
    for frame in (Connection.StartOk(response="\x00any\x00one"), Connection.TuneOk(), Connection.Open()):
        writer.write(marshal(frame, 0))
    while not isinstance((await read_frame(reader))[1], Connection.OpenOk):
        pass
    writer.write(Heartbeat.marshal())
    assert await reader.readexactly(8) == Heartbeat.marshal()
    writer.close()
    await writer.wait_closed()


async def test_dropped_connections_give_back_what_they_held(broker: LoopbackBroker) -> None:
    connection = await aiormq.connect(broker.url)
    channel = await connection.channel()
    await channel.queue_declare("q")
    await channel.basic_publish(b"1", routing_key="q")
    arrived: asyncio.Queue[aiormq.abc.DeliveredMessage] = asyncio.Queue()
    await channel.basic_consume("q", arrived.put)
    assert not (await arrived.get()).redelivered
    assert broker.queue_depth("q") == 0
    broker.drop_connections()
    assert broker.queue_depth("q") == 1
    with pytest.raises(aiormq.exceptions.AMQPConnectionError):
        await connection.closing
    async with aiormq.connect(broker.url) as again:
        found = await (await again.channel()).basic_get("q")
        assert found.redelivered
        assert found.body == b"1"


async def test_a_deleted_queue_cancels_its_consumers(channel: AbstractChannel, broker: LoopbackBroker) -> None:
    async with aiormq.connect(broker.url) as connection:
        consuming = await connection.channel()
        await consuming.queue_declare("q")
        cancelled: asyncio.Queue[Basic.Cancel] = asyncio.Queue()
        consuming.on_consumer_cancel_callbacks.add(cancelled.put_nowait)
        tag = (await consuming.basic_consume("q", lambda _: asyncio.sleep(0))).consumer_tag
        await channel.queue_delete("q")
        assert (await cancelled.get()).consumer_tag == tag
