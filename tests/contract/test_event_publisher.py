"""What a producer can rely on, and what the topology must be, on either broker."""

import pytest

from service.adapters.rabbitmq.publisher import EventPublisher, Publication, UnroutableError
from service.adapters.rabbitmq.topology import TopologyError, declare_topology
from service.ports.errors import UnavailableError
from tests.contract.broker_rig import Bench, Troubles, bodies, take


async def test_passive_declaration_takes_what_is_there_and_says_what_is_not(bench: Bench, troubles: Troubles) -> None:
    source = await bench.source(troubles, declare="passive")
    error = await troubles.next()
    assert isinstance(error, TopologyError)
    assert bench.topology.events_exchange in str(error)
    await bench.publish(b"1")
    assert bodies(await take(source, 1)) == [b"1"]


async def test_a_queue_with_other_properties_is_named_with_what_differs(bench: Bench, troubles: Troubles) -> None:
    channel = await bench.channel()
    await channel.queue_declare(bench.topology.intake_queue, durable=True, arguments={"x-queue-type": "quorum"})
    await bench.source(troubles)
    error = await troubles.next()
    assert isinstance(error, TopologyError)
    assert f"queue '{bench.topology.intake_queue}'" in str(error)
    assert "x-de" in str(error)  # x-delivery-limit or x-dead-letter-…: brokers begin at different ends


async def test_declaring_twice_is_declaring_once(bench: Bench) -> None:
    await declare_topology(bench.url, bench.topology)
    await declare_topology(bench.url, bench.topology)
    await declare_topology(bench.url, bench.topology, "passive")


async def test_many_are_published_in_order_each_confirmed(bench: Bench) -> None:
    await declare_topology(bench.url, bench.topology)
    publisher = await bench.publisher()
    sent = [Publication(b"%d" % number, "message.sent", message_id=f"evt_{number}") for number in range(600)]
    assert await publisher.publish_many(sent) == 600
    source = await bench.source(prefetch=1000)
    assert bodies(await take(source, 600)) == [publication.body for publication in sent]


async def test_one_unroutable_among_many_raises(bench: Bench) -> None:
    await declare_topology(bench.url, bench.topology)
    publisher = await bench.publisher()
    with pytest.raises(UnroutableError):
        await publisher.publish_many(
            [Publication(b"1", "message.sent", message_id="1"), Publication(b"2", "invoice.paid", message_id="2")]
        )


async def test_publishing_to_nothing_or_nobody_raises_and_works_once_it_is_there(bench: Bench) -> None:
    publication = Publication(b"1", "message.sent", message_id="1")
    publisher = await bench.publisher(relayed=True)
    with pytest.raises(UnavailableError, match="NOT_FOUND"):
        await publisher.publish(publication)
    await declare_topology(bench.url, bench.topology)
    await publisher.publish(publication)
    await bench.relay.close()
    with pytest.raises(UnavailableError):
        await publisher.publish(publication)
    await bench.relay.open()
    await publisher.publish(publication)


async def test_a_publisher_that_never_published_has_nothing_to_close(bench: Bench) -> None:
    async with EventPublisher("amqp://127.0.0.1:1/", bench.topology):
        pass
