"""The demo's broker: the RabbitMQ at AMQP_URL if it is set, else the in-memory loopback broker."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from service.adapters.rabbitmq.connection import hang_up, open_connection, unavailable
from service.adapters.rabbitmq.topology import declare_topology
from service.embedded.amqp import LoopbackBroker
from service.ports.source import Topology
from service.settings.values import masked

IN_MEMORY: Final = "in memory, loopback only, not RabbitMQ (set AMQP_URL to use yours)"


@dataclass(frozen=True, slots=True)
class DemoBroker:
    """Where events are published, and a description to display."""

    url: str
    topology: Topology
    description: str


@asynccontextmanager
async def demo_broker(amqp_url: str | None) -> AsyncIterator[DemoBroker]:
    """Declare exchanges and queues of the demo's own; remove them at the end.

    Raises ``UnavailableError``, ``TopologyError``.
    """
    if amqp_url is None:
        async with LoopbackBroker() as broker:
            await declare_topology(broker.url, Topology())
            yield DemoBroker(broker.url, Topology(), IN_MEMORY)
        return
    topology = Topology(prefix=f"posthorn-demo-{secrets.token_hex(4)}")
    description = f"{masked(amqp_url)}, in exchanges and queues named {topology.prefix}.*, deleted at the end"
    with unavailable(f"AMQP_URL: {masked(amqp_url)} cannot be used"):
        await hang_up(await open_connection(amqp_url, "posthorn demo"))
    try:
        await declare_topology(amqp_url, topology)
        yield DemoBroker(amqp_url, topology, description)
    finally:
        await _remove(amqp_url, topology)


async def _remove(url: str, topology: Topology) -> None:
    with unavailable("not removed"):
        connection = await open_connection(url, "posthorn demo")
        try:
            channel = await connection.channel(publisher_confirms=False)
            for queue in (topology.intake_queue, topology.parked):
                await channel.queue_delete(queue)
            for exchange in (topology.events_exchange, topology.parked):
                await channel.exchange_delete(exchange)
        finally:
            await hang_up(connection)
