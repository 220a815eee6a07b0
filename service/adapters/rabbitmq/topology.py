"""What must exist in the broker: one exchange in, one queue to work from, and one place for what cannot be an event."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed
from pamqp.common import FieldTable

from service.adapters.rabbitmq.connection import connect, hang_up
from service.core.events.registry import BINDINGS

Declare = Literal["active", "passive"]
"""``active`` creates what is missing; ``passive`` only checks that it exists, for operators who own their topology."""


PARKED_DELIVERY_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Topology:
    """The names, and the rules of the queues. A ``prefix`` of its own keeps one installation apart from another."""

    prefix: str = "posthorn"
    bindings: tuple[str, ...] = BINDINGS
    delivery_limit: int = 20
    """How often the broker takes a message back before it parks it: the backstop against a message that kills us."""

    @property
    def events_exchange(self) -> str:
        """The topic exchange that producers publish to; the routing key is the event type."""
        return f"{self.prefix}.events"

    @property
    def intake_queue(self) -> str:
        """The queue that workers share."""
        return f"{self.prefix}.intake"

    @property
    def parked(self) -> str:
        """Both the fanout exchange and the queue of what was set aside. Fanout: any routing key gets there."""
        return f"{self.prefix}.parked"

    @property
    def intake_arguments(self) -> FieldTable:
        """Replicated, and nothing leaves it for the parked queue before that queue has it (at-least-once)."""
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": self.delivery_limit,
            "x-dead-letter-exchange": self.parked,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",  # at-least-once dead-lettering demands it
        }

    @property
    def parked_arguments(self) -> FieldTable:
        """Replicated as well: what is parked waits for a human."""
        # Looking at a message and putting it back counts as a delivery, and RabbitMQ 4 drops it after 20 by default.
        return {"x-queue-type": "quorum", "x-delivery-limit": PARKED_DELIVERY_LIMIT}


class TopologyError(Exception):
    """The broker's exchanges or queues are not what Posthorn needs; the message names which, and what to do."""


async def declare_topology(url: str, topology: Topology, declare: Declare = "active") -> None:
    """Connect, ``ensure`` the topology, hang up. Raises ``TopologyError``, or whatever the connection raises."""
    connection = await connect(url, "posthorn topology")
    try:
        await ensure(connection, topology, declare)
    finally:
        await hang_up(connection)


async def ensure(connection: AbstractConnection, topology: Topology, declare: Declare) -> None:
    """Create or check everything. Declaring is idempotent, so dying half-way costs nothing.

    A binding that an earlier configuration made is not removed: the broker has no way to ask for it.
    Raises ``TopologyError``.
    """
    channel = await connection.channel(publisher_confirms=False)
    passive = declare == "passive"
    await _exchange(channel, topology.events_exchange, "topic", passive=passive)
    await _exchange(channel, topology.parked, "fanout", passive=passive)
    await _queue(channel, topology.parked, topology.parked_arguments, passive=passive)
    await _queue(channel, topology.intake_queue, topology.intake_arguments, passive=passive)
    if not passive:
        with _explained("queue", topology.parked):
            await channel.queue_bind(topology.parked, topology.parked)
        with _explained("queue", topology.intake_queue):
            for pattern in topology.bindings:
                await channel.queue_bind(topology.intake_queue, topology.events_exchange, pattern)
    await channel.close()


async def _exchange(channel: AbstractChannel, name: str, kind: str, *, passive: bool) -> None:
    with _explained("exchange", name):
        await channel.exchange_declare(name, exchange_type=kind, durable=True, passive=passive)


async def _queue(channel: AbstractChannel, name: str, arguments: FieldTable, *, passive: bool) -> None:
    with _explained("queue", name):
        await channel.queue_declare(name, durable=True, passive=passive, arguments=None if passive else arguments)


@contextmanager
def _explained(kind: str, name: str) -> Iterator[None]:
    """The broker's refusal, said so that an operator knows what to change."""
    try:
        yield
    except ChannelPreconditionFailed as refusal:  # its text says what was asked for and what is there
        message = f"{kind} {name!r} exists with other properties: {refusal}; delete it, or declare passively to use it"
        raise TopologyError(message) from refusal
    except ChannelNotFoundEntity as refusal:
        message = f"{kind} {name!r} does not exist and may not be created (passive declaration): {refusal}"
        raise TopologyError(message) from refusal
    except ChannelAccessRefused as refusal:
        message = f"{kind} {name!r} may not be declared by this user: {refusal}; grant it, or declare passively"
        raise TopologyError(message) from refusal
