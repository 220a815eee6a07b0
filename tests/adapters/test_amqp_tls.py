"""Messages over TLS: they are taken out of the stream as on a bare socket."""

import asyncio
import ssl
from pathlib import Path

import pytest
from yarl import URL

from service.adapters.rabbitmq.publisher import EventPublisher, Publication
from service.adapters.rabbitmq.source import RabbitSource
from service.adapters.rabbitmq.topology import declare_topology
from service.embedded.amqp import LoopbackBroker
from service.ports.source import Topology
from tests.contract.broker_rig import Troubles, bodies, take
from tests.contract.relay import Relay


@pytest.mark.clock
async def test_messages_arrive_over_tls(certificate: Path, troubles: Troubles) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    topology, sent = Topology(), [bytes(200_000), b"2"]
    async with LoopbackBroker() as broker, Relay("127.0.0.1", URL(broker.url).port or 0, tls) as relay:
        url = f"amqps://guest:guest@127.0.0.1:{relay.port}/?cafile={certificate}"
        await declare_topology(url, topology)
        source = RabbitSource(
            url, prefetch=10, topology=topology, declare="active", on_trouble=troubles, draw=lambda: 0.0
        )
        running = asyncio.create_task(source.run())
        async with EventPublisher(url, topology) as events:
            await events.publish_many(Publication(body, "message.sent", message_id=str(len(body))) for body in sent)
        batch = await take(source, 2)
        assert bodies(batch) == sent
        await source.ack(batch)
        await source.close()
        await running
        assert broker.queue_depth(topology.intake_queue) == 0
    assert troubles.errors == []


@pytest.fixture
def troubles() -> Troubles:
    return Troubles()
