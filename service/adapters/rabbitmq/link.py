"""One connection to the broker with one consumer on it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Self

from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from pamqp.commands import Basic

from service.adapters.rabbitmq.connection import hang_up, open_connection
from service.adapters.rabbitmq.topology import Declare, ensure
from service.ports.source import Topology

OnMessage = Callable[[DeliveredMessage], Coroutine[Any, Any, None]]

PROBE_SECONDS_MAX = 10


class ConsumerLostError(Exception):
    """The connection is open, but the broker has no consumer for it any more."""


class Link:
    """A connection, its channel and its consumer. When one of the three dies, all three are replaced.

    Replacing one part is not enough: without the channel the delivery tags are void, and the broker redelivers.
    """

    def __init__(self, connection: AbstractConnection, channel: AbstractChannel, queue: str) -> None:
        self._connection = connection
        self._channel = channel
        self._queue = queue
        self._consumer_tag: str | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(
        cls, url: str, topology: Topology, declare: Declare, *, prefetch: int, on_message: OnMessage, within: float
    ) -> Self:
        """Connect, ensure the topology and consume, all ``within`` these seconds. Raises TopologyError, or anything."""
        async with asyncio.timeout(within):
            connection = await open_connection(url, "posthorn intake")
            try:
                await ensure(connection, topology, declare)
                channel = await connection.channel(publisher_confirms=False)
                link = cls(connection, channel, topology.intake_queue)
                await link._consume(prefetch, on_message)
            except BaseException:
                await hang_up(connection)
                raise
        return link

    async def _consume(self, prefetch: int, on_message: OnMessage) -> None:
        self._channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        await self._channel.basic_qos(prefetch_count=prefetch)
        consuming = await self._channel.basic_consume(self._queue, on_message)
        self._consumer_tag = consuming.consumer_tag

    def _on_cancel(self, _: Basic.Cancel) -> None:
        """Handle a cancel from the broker: the queue was deleted, or lost its leader."""
        self._end()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    @property
    def is_open(self) -> bool:
        """Whether messages can arrive."""
        return not (self._ended.done() or self._channel.is_closed or self._connection.is_closed)

    async def lost(self, probe_every: float) -> Exception:
        """Wait until the link is lost; returns why.

        Every ``probe_every`` seconds it asks the broker for the queue's consumers. A channel that does not answer, or a
        queue without consumers, is a loss that no frame would have reported.
        """
        endings: list[asyncio.Future[Any]] = [self._connection.closing, self._channel.closing, self._ended]
        while True:
            ended, _ = await asyncio.wait(endings, timeout=probe_every, return_when=asyncio.FIRST_COMPLETED)
            if self._ended in ended:
                return ConsumerLostError(f"the broker cancelled the consumer of {self._queue!r}")
            for ending in ended:
                reason = None if ending.cancelled() else ending.exception()
                return reason if isinstance(reason, Exception) else ConnectionError("the connection was lost")
            queue = await self._channel.queue_declare(self._queue, passive=True, timeout=PROBE_SECONDS_MAX)
            if queue.consumer_count == 0:
                return ConsumerLostError(f"connected, but {self._queue!r} has no consumer")

    async def cancel(self) -> None:
        """Stop consuming; the channel stays open for acks."""
        if self._consumer_tag is not None:
            await self._channel.basic_cancel(self._consumer_tag, timeout=PROBE_SECONDS_MAX)

    async def close(self) -> None:
        """Close; the broker requeues unacked messages. Never raises, and may be called again."""
        self._end()
        await hang_up(self._connection)
