"""A broker laid out for one test, and what the test plugs into it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from uuid import uuid4

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage
from yarl import URL

from service.adapters.rabbitmq.publisher import EventPublisher, Publication
from service.adapters.rabbitmq.source import RabbitSource
from service.adapters.rabbitmq.topology import Declare, declare_topology
from service.ports.source import EventSource, IncomingMessage, Topology
from tests.contract.relay import Relay


@dataclass
class Troubles:
    """What the source reported; ``changed`` wakes whoever waits for the next one."""

    errors: list[BaseException] = field(default_factory=list)
    wheres: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, where: str, error: BaseException) -> None:
        self.wheres.append(where)
        self.errors.append(error)
        self.changed.set()

    async def next(self) -> BaseException:
        await self.changed.wait()
        self.changed.clear()
        return self.errors[-1]


class Bench:
    """A broker with an isolated topology, reached directly and through a relay, and what tests plug into it."""

    def __init__(self, url: str, relay: Relay, stack: AsyncExitStack) -> None:
        self.url = url
        self.relay = relay
        self.topology = Topology(prefix=f"posthorn-test-{uuid4().hex[:12]}", delivery_limit=3)
        self._stack = stack

    @property
    def relayed_url(self) -> str:
        return str(URL(self.url).with_host("127.0.0.1").with_port(self.relay.port))

    async def source(
        self,
        troubles: Callable[[str, BaseException], None] | None = None,
        *,
        prefetch: int = 100,
        declare: Declare = "active",
        relayed: bool = False,
        watchdog_seconds: float = 30,
        query: str = "",
    ) -> RabbitSource:
        """A source that runs until the test ends."""
        source = RabbitSource(
            (self.relayed_url if relayed else self.url) + query,
            prefetch=prefetch,
            topology=self.topology,
            declare=declare,
            on_trouble=troubles or Troubles(),
            draw=lambda: 0.0,
            watchdog_seconds=watchdog_seconds,
        )
        running = asyncio.create_task(source.run())
        self._stack.push_async_callback(_end, source, running)
        return source

    async def publisher(self, *, relayed: bool = False) -> EventPublisher:
        return await self._stack.enter_async_context(
            EventPublisher(self.relayed_url if relayed else self.url, self.topology, app_id="test")
        )

    async def publish(self, *bodies: bytes, event_type: str = "message.sent") -> None:
        await declare_topology(self.url, self.topology)
        await self.publish_only(*bodies, event_type=event_type)

    async def publish_only(self, *bodies: bytes, event_type: str = "message.sent") -> None:
        """Publish, with the topology as it is."""
        publisher = await self.publisher()
        await publisher.publish_many(Publication(body, event_type, message_id=body.decode()) for body in bodies)

    async def parked(self) -> asyncio.Queue[DeliveredMessage]:
        """Everything that gets to the parked queue, as it arrives; not acked, so it stays there."""
        await declare_topology(self.url, self.topology)
        return await self.arrivals(self.topology.parked)

    async def arrivals(self, queue: str) -> asyncio.Queue[DeliveredMessage]:
        """The same for any queue, with the topology as it is."""
        found: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        await (await self.channel()).basic_consume(queue, found.put)
        return found

    async def channel(self) -> AbstractChannel:
        """A channel to the broker itself, to look behind the adapter."""
        connection = await self._stack.enter_async_context(aiormq.connect(self.url))
        return await connection.channel()

    async def waiting_count(self, queue: str) -> int:
        declared = await (await self.channel()).queue_declare(queue, passive=True)
        return declared.message_count or 0

    async def clean(self) -> None:
        channel = await self.channel()
        for queue in (self.topology.intake_queue, self.topology.parked):
            await channel.queue_delete(queue)
        for exchange in (self.topology.events_exchange, self.topology.parked):
            await channel.exchange_delete(exchange)


async def _end(source: RabbitSource, running: Awaitable[None]) -> None:
    await source.stop()
    await running
    await source.close()


async def take(source: EventSource, count: int, *, limit: int = 100) -> list[IncomingMessage]:
    """Batches, until there are ``count`` messages in all."""
    taken: list[IncomingMessage] = []
    while len(taken) < count:
        batch = await source.next_batch(min(limit, count - len(taken)))
        assert 0 < len(batch) <= limit
        taken += batch
    return taken


def bodies(messages: Sequence[IncomingMessage]) -> list[bytes]:
    return [message.body for message in messages]
