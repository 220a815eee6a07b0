"""What only the RabbitMQ adapter can suffer from: dead links, and timestamps from beyond the calendar."""

import asyncio
import struct
from datetime import datetime

import pytest
from pamqp import encode

from service.adapters.rabbitmq import connection, link, publisher
from service.adapters.rabbitmq.publisher import Publication
from service.adapters.rabbitmq.source import BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN, RabbitSource, backoff_seconds
from service.adapters.rabbitmq.topology import declare_topology
from service.core.reason import ParkReason
from service.embedded.amqp import LoopbackBroker
from service.ports.errors import UnavailableError
from service.ports.source import Topology
from tests.contract.broker_rig import Bench, Troubles


async def test_connected_without_a_consumer_it_connects_anew(troubles: Troubles) -> None:
    topology = Topology()
    async with LoopbackBroker() as broker:
        source = RabbitSource(
            broker.url,
            prefetch=10,
            topology=topology,
            declare="active",
            on_trouble=troubles,
            draw=lambda: 0.0,
            watchdog_seconds=0.5,
        )
        running = asyncio.create_task(source.run())
        await declare_topology(broker.url, topology)
        async with publisher.EventPublisher(broker.url, topology) as events:
            await events.publish(Publication(b"1", "message.sent", message_id="1"))
            await source.ack(await source.next_batch(10))
            broker.forget_consumers()
            await events.publish(Publication(b"2", "message.sent", message_id="2"))
            assert isinstance(await troubles.next(), link.ConsumerLostError)
            [message] = await source.next_batch(10)
            assert message.body == b"2"
        await source.close()
        await running


async def test_a_lost_link_is_told_as_a_broker_that_cannot_be_reached(bench: Bench, troubles: Troubles) -> None:
    """So the log has it as a warning, with a sentence: an error is what only a change of the program mends."""
    await bench.publish(b"1")
    source = await bench.source(troubles, relayed=True)
    await source.next_batch(10)  # so it is connected
    bench.relay.cut()
    error = await troubles.next()
    assert isinstance(error, UnavailableError)
    assert str(error)


async def test_a_link_that_swallows_everything_is_noticed_and_replaced(
    bench: Bench, troubles: Troubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "PROBE_SECONDS_MAX", 1.0)
    monkeypatch.setattr(connection, "HANG_UP_SECONDS_MAX", 0.2)
    await bench.publish(b"1")
    source = await bench.source(troubles, relayed=True, watchdog_seconds=0.5)
    [old] = await source.next_batch(10)
    bench.relay.sink()
    assert isinstance((await troubles.next()).__cause__, TimeoutError)
    assert not source.is_connected
    bench.relay.cut()  # the broker notices at last, and takes the message back
    bench.relay.flow()
    [again] = await source.next_batch(10)
    assert (again.body, again.is_redelivered) == (b"1", True)
    await source.ack([old])


async def test_publishing_into_a_link_that_swallows_everything_raises_in_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await declare_topology(bench.url, bench.topology)
    events = await bench.publisher(relayed=True)
    await events.publish(Publication(b"1", "message.sent", message_id="1"))
    bench.relay.sink()
    with monkeypatch.context() as impatient:
        impatient.setattr(publisher, "CONFIRM_SECONDS_MAX", 0.2)
        impatient.setattr(connection, "HANG_UP_SECONDS_MAX", 0.2)
        with pytest.raises(UnavailableError, match="TimeoutError"):
            await events.publish(Publication(b"2", "message.sent", message_id="2"))
    bench.relay.cut()
    bench.relay.flow()
    await events.publish(Publication(b"3", "message.sent", message_id="3"))


@pytest.mark.parametrize("timestamp", [1763662700123456, 638988000000000000, 2**64 - 1, 1763662700123])
async def test_a_timestamp_from_beyond_the_calendar_does_no_harm(
    bench: Bench, troubles: Troubles, monkeypatch: pytest.MonkeyPatch, timestamp: int
) -> None:
    source = await bench.source(troubles)
    await declare_topology(bench.url, bench.topology)
    with monkeypatch.context() as careless:
        careless.setitem(encode.METHODS, "timestamp", lambda _: struct.pack(">Q", timestamp))
        events = await bench.publisher()
        await events.publish(Publication(b"1", "message.sent", message_id="1", occurred_at=datetime.min))  # noqa: DTZ901
    [message] = await source.next_batch(1)
    await source.park(message, ParkReason.BAD_JSON, "not JSON")
    assert (await (await bench.parked()).get()).body == b"1"
    assert troubles.errors == []


def test_backoff_doubles_up_to_its_maximum_and_spreads_by_half() -> None:
    assert [backoff_seconds(failures, 0.0) for failures in (0, 1, 2)] == [
        BACKOFF_SECONDS_MIN,
        2 * BACKOFF_SECONDS_MIN,
        4 * BACKOFF_SECONDS_MIN,
    ]
    assert backoff_seconds(1000, 0.0) == BACKOFF_SECONDS_MAX
    assert backoff_seconds(1000, -1.0) == BACKOFF_SECONDS_MAX / 2
