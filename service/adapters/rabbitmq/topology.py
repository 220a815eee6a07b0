"""What must exist in the broker: the events exchange, the intake queue, and a place for parked messages."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed

from service.adapters.rabbitmq.connection import hang_up, open_connection
from service.ports.source import Topology

Declare = Literal["active", "passive"]
"""``active`` creates what is missing; ``passive`` only checks, for operators who create the topology themselves."""


class TopologyError(Exception):
    """An exchange or queue is missing or has other properties; the message names it and says what to do."""


async def declare_topology(url: str, topology: Topology, declare: Declare = "active") -> None:
    """Connect, ``ensure`` the topology, close. Raises ``TopologyError``, or whatever the connection raises."""
    connection = await open_connection(url, "posthorn topology")
    try:
        await ensure(connection, topology, declare)
    finally:
        await hang_up(connection)


async def ensure(connection: AbstractConnection, topology: Topology, declare: Declare) -> None:
    """Create or check everything. Raises ``TopologyError``."""
    await ensure_intake(connection, topology, declare)
    await ensure_parked(connection, topology, declare)


async def ensure_parked(connection: AbstractConnection, topology: Topology, declare: Declare) -> None:
    """Create or check the place for parked messages. Raises ``TopologyError``."""
    channel = await connection.channel(publisher_confirms=False)
    await _exchange(channel, topology.parked, "fanout", passive=declare == "passive")
    await _queue(channel, topology.parked, topology.parked_arguments, passive=declare == "passive")
    if declare == "active":
        with _explained("queue", topology.parked):
            await channel.queue_bind(topology.parked, topology.parked)
    await channel.close()


async def ensure_intake(connection: AbstractConnection, topology: Topology, declare: Declare) -> None:
    """Create or check what events need to arrive. Declaring is idempotent, so dying halfway is harmless.

    Bindings from an earlier configuration are not removed: AMQP cannot list them.
    Raises ``TopologyError``.
    """
    channel = await connection.channel(publisher_confirms=False)
    await _exchange(channel, topology.events_exchange, "topic", passive=declare == "passive")
    await _queue(channel, topology.intake_queue, topology.intake_arguments, passive=declare == "passive")
    if declare == "active":
        with _explained("queue", topology.intake_queue):
            for pattern in topology.bindings:
                await channel.queue_bind(topology.intake_queue, topology.events_exchange, pattern)
    await channel.close()


async def _exchange(channel: AbstractChannel, name: str, kind: str, *, passive: bool) -> None:
    with _explained("exchange", name):
        await channel.exchange_declare(name, exchange_type=kind, durable=True, passive=passive)


async def _queue(channel: AbstractChannel, name: str, arguments: Mapping[str, str | int], *, passive: bool) -> None:
    with _explained("queue", name):
        await channel.queue_declare(name, durable=True, passive=passive, arguments=None if passive else dict(arguments))


@contextmanager
def _explained(kind: str, name: str) -> Iterator[None]:
    """Turns the broker's refusal into a ``TopologyError`` that tells an operator what to change."""
    try:
        yield
    except ChannelPreconditionFailed as refusal:  # its text names the requested and the existing value
        message = f"{kind} {name!r} exists with other properties: {refusal}; delete it, or declare passively to use it"
        raise TopologyError(message) from refusal
    except ChannelNotFoundEntity as refusal:
        message = f"{kind} {name!r} does not exist and may not be created (passive declaration): {refusal}"
        raise TopologyError(message) from refusal
    except ChannelAccessRefused as refusal:
        message = f"{kind} {name!r} may not be declared by this user: {refusal}; grant it, or declare passively"
        raise TopologyError(message) from refusal
