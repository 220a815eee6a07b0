"""What every event source must do, whatever broker is behind it: here taking, acking, reconnecting and stopping.

Always runs against the loopback endpoint; against RabbitMQ as well when ``TEST_AMQP_URL`` says where it is.
"""

import asyncio
from typing import TYPE_CHECKING

import aiormq
import pytest
from pamqp.commands import Basic

from service.adapters.rabbitmq.publisher import Publication, UnroutableError
from service.adapters.rabbitmq.source import RabbitSource
from service.adapters.rabbitmq.topology import declare_topology
from service.core.events.event import BODY_BYTES_MAX
from service.ports.source import EventSource
from tests.contract.broker_rig import Bench, Troubles, bodies, take
from tests.contract.conftest import RABBITMQ_URL

if TYPE_CHECKING:

    def _is_an_event_source(source: RabbitSource) -> EventSource:
        return source


@pytest.mark.servers
@pytest.mark.skipif(
    not RABBITMQ_URL, reason="TEST_AMQP_URL is not set: what RabbitMQ must do, the loopback broker alone did"
)
async def test_rabbitmq_is_there() -> None:
    async with aiormq.connect(RABBITMQ_URL) as connection:
        assert connection.server_properties["product"] == "RabbitMQ"


# --------------------------------------------------------------------------- taking


async def test_a_message_arrives_with_what_the_producer_said_of_it(bench: Bench) -> None:
    source = await bench.source()
    await bench.publish(b"one")
    [message] = await take(source, 1)
    assert (message.body, message.message_id, message.content_type) == (b"one", "one", "application/json")
    assert not message.is_redelivered
    assert source.is_connected


async def test_a_message_without_content_type_or_body_is_a_message(bench: Bench) -> None:
    source = await bench.source()
    await declare_topology(bench.url, bench.topology)
    channel = await bench.channel()
    await channel.basic_publish(
        b"", exchange=bench.topology.events_exchange, routing_key="link.clicked", properties=Basic.Properties()
    )
    [message] = await take(source, 1)
    assert message.body == b""
    assert message.content_type is None


async def test_a_large_message_arrives_whole(bench: Bench) -> None:
    await declare_topology(bench.url, bench.topology)
    body = bytes(range(256)) * 1024
    assert len(body) == BODY_BYTES_MAX
    source = await bench.source()
    await (await bench.publisher()).publish(Publication(body, "message.sent", message_id="large"))
    assert bodies(await take(source, 1)) == [body]


async def test_batches_keep_the_brokers_order_and_their_limit(bench: Bench) -> None:
    sent = [b"%d" % number for number in range(20)]
    await bench.publish(*sent)
    source = await bench.source()
    assert bodies(await take(source, 20, limit=7)) == sent


async def test_no_more_than_the_prefetch_is_taken_without_an_ack(bench: Bench) -> None:
    await bench.publish(*[b"%d" % number for number in range(5)])
    source = await bench.source(prefetch=3)
    first = await take(source, 3)
    waiting = asyncio.create_task(source.next_batch(10))
    assert await bench.waiting_count(bench.topology.intake_queue) == 2
    assert not waiting.done()
    await source.ack(first)
    assert bodies(await waiting)[:1] == [b"3"]


async def test_two_sources_share_the_queue(bench: Bench) -> None:
    one = await bench.source(prefetch=1)
    await bench.publish(b"first")
    [first] = await take(one, 1)
    other = await bench.source(prefetch=1)
    await bench.publish(b"second")
    [second] = await take(other, 1)
    assert (first.body, second.body) == (b"first", b"second")


async def test_only_bound_event_types_arrive_and_an_unroutable_one_raises(bench: Bench) -> None:
    source = await bench.source()
    await bench.publish(b"bound", event_type="link.clicked")
    with pytest.raises(UnroutableError, match="invoice"):
        await bench.publish(b"unbound", event_type="invoice.paid")
    with pytest.raises(UnroutableError):
        await bench.publish(b"too deep", event_type="message.sent.twice")
    await bench.publish(b"after", event_type="message.replied")
    assert bodies(await take(source, 2)) == [b"bound", b"after"]


# --------------------------------------------------------------------------- acking


async def test_an_ack_names_its_own_messages_only(bench: Bench) -> None:
    await bench.publish(b"1", b"2", b"3", b"4")
    first = await bench.source()
    taken = await take(first, 4)
    await first.ack([taken[1], taken[3]])
    await first.close()
    await bench.publish(b"5")
    assert bodies(await take(await bench.source(), 3)) == [b"1", b"3", b"5"]


async def test_what_was_not_acked_comes_back_first_in_order_and_marked(bench: Bench) -> None:
    await bench.publish(b"1", b"2", b"3")
    first = await bench.source()
    taken = await take(first, 3)
    await first.ack(taken[:1])
    await first.close()
    await bench.publish(b"4")
    again = await take(await bench.source(), 3)
    assert [(message.body, message.is_redelivered) for message in again] == [(b"2", True), (b"3", True), (b"4", False)]


async def test_an_empty_ack_is_nothing(bench: Bench) -> None:
    await (await bench.source()).ack([])


# --------------------------------------------------------------------------- losing the connection


async def test_a_cut_connection_is_replaced_and_its_messages_come_again(bench: Bench, troubles: Troubles) -> None:
    source = await bench.source(troubles, relayed=True)
    await bench.publish(b"1", b"2")
    old = await take(source, 2)
    bench.relay.cut()
    again = await take(source, 2)
    assert [(message.body, message.is_redelivered) for message in again] == [(b"1", True), (b"2", True)]
    assert len(troubles.errors) == 1

    await source.ack(old)  # of a channel that is gone: no error, and no effect on the new one
    await source.ack(again[:1])
    await source.close()
    assert bodies(await take(await bench.source(), 1)) == [b"2"]


async def test_what_was_buffered_when_the_connection_broke_is_not_handed_out_twice(
    bench: Bench, troubles: Troubles
) -> None:
    source = await bench.source(troubles, relayed=True)
    await bench.publish(b"1", b"2", b"3")
    assert bodies(await take(source, 1)) == [b"1"]
    bench.relay.cut()
    await troubles.next()
    again = await take(source, 3)
    assert [(message.body, message.is_redelivered) for message in again] == [(b"1", True), (b"2", True), (b"3", True)]


async def test_a_broker_that_comes_late_or_goes_away_is_waited_for(bench: Bench, troubles: Troubles) -> None:
    await bench.relay.close()
    source = await bench.source(troubles, relayed=True)
    assert "refused; start RabbitMQ" in str(await troubles.next())
    assert not source.is_connected
    await bench.relay.open()
    await bench.publish(b"1")
    assert bodies(await take(source, 1)) == [b"1"]

    await bench.relay.close()
    await troubles.next()
    assert not source.is_connected
    await bench.relay.open()
    assert bodies(await take(source, 1)) == [b"1"]


async def test_a_deleted_queue_is_made_again(bench: Bench, troubles: Troubles) -> None:
    await bench.publish(b"1")
    source = await bench.source(troubles)
    await source.ack(await take(source, 1))
    await (await bench.channel()).queue_delete(bench.topology.intake_queue)
    assert "cancelled the consumer" in str(await troubles.next())
    reconnected = await bench.source()  # declares as well, so that publishing finds the queue
    await bench.publish(b"2")
    taken = [asyncio.create_task(take(each, 1)) for each in (source, reconnected)]
    done, _ = await asyncio.wait(taken, return_when=asyncio.FIRST_COMPLETED)
    assert [bodies(task.result()) for task in done] == [[b"2"]]
    for task in taken:
        task.cancel()
    await asyncio.wait(taken)


# --------------------------------------------------------------------------- stopping


async def test_after_stop_nothing_is_taken_but_what_was_taken_can_be_acked(bench: Bench) -> None:
    await bench.publish(b"1", b"2", b"3")
    source = await bench.source()
    taken = await take(source, 2)
    await source.stop()
    assert await source.next_batch(10) == ()
    assert not source.is_connected
    await source.ack(taken)
    await source.close()
    assert bodies(await take(await bench.source(), 1)) == [b"3"]


async def test_stop_releases_a_waiting_taker_and_ends_run(bench: Bench, troubles: Troubles) -> None:
    source = RabbitSource(
        bench.url,
        prefetch=10,
        topology=bench.topology,
        declare="active",
        on_trouble=troubles,
        draw=lambda: 0.0,
    )
    running = asyncio.create_task(source.run())
    waiting = asyncio.create_task(source.next_batch(10))
    await bench.publish(b"1")
    await source.ack(await waiting)
    waiting = asyncio.create_task(source.next_batch(10))
    await source.stop()
    assert await waiting == ()
    await running
    await source.close()
    assert troubles.errors == []


async def test_stop_ends_a_source_that_never_connected(bench: Bench, troubles: Troubles) -> None:
    await bench.relay.close()
    source = RabbitSource(
        bench.relayed_url,
        prefetch=10,
        topology=bench.topology,
        declare="active",
        on_trouble=troubles,
        draw=lambda: 0.0,
    )
    running = asyncio.create_task(source.run())
    await troubles.next()
    await source.stop()
    await running
    assert await source.next_batch(1) == ()
    await source.close()
    await source.run()  # stopped is stopped: returns at once


async def test_cancelling_run_is_not_mistaken_for_stop(bench: Bench, troubles: Troubles) -> None:
    source = RabbitSource(
        bench.url, prefetch=10, topology=bench.topology, declare="active", on_trouble=troubles, draw=lambda: 0.0
    )
    running = asyncio.create_task(source.run())
    await bench.publish(b"1")
    await take(source, 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await source.close()
