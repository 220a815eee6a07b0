"""One connection to the broker with one consumer on it."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from pamqp.commands import Basic

from service.adapters.rabbitmq.connection import hang_up, open_connection
from service.adapters.rabbitmq.delivery import Delivery, Messages
from service.adapters.rabbitmq.topology import Declare, TopologyError, ensure_intake, ensure_parked
from service.adapters.rabbitmq.unacked import Unacked
from service.ports.errors import UnavailableError
from service.ports.source import Topology

PROBE_SECONDS_MAX = 10


class ConsumerLostError(UnavailableError):
    """The connection is open, but the broker has no consumer for it any more."""


class Link:
    """A connection, its channel and its consumer. When one of the three dies, all three are replaced.

    Replacing one part is not enough: without the channel the delivery tags are void, and the broker redelivers.
    """

    def __init__(self, queue: str, on_message: Callable[["Link", Delivery], None]) -> None:
        """``on_message`` is called for every message, so it should not do much."""
        self._queue = queue
        self._on_message = on_message
        self._unacked = Unacked()
        self._in_order = (
            asyncio.Lock()
        )  # acks are sent in the order in which they are decided: a later one can cover more
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._consumer_tag: str | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(
        self,
        url: str,
        topology: Topology,
        declare: Declare,
        *,
        prefetch: int,
        within: float,
        on_trouble: Callable[[str, BaseException], None],
    ) -> None:
        """Connect, ensure the topology and consume, all ``within`` these seconds. Raises TopologyError, or anything.

        Where nothing can be parked, that is told ``on_trouble``, and events are taken all the same.
        """
        async with asyncio.timeout(within):
            connection = await open_connection(url, "posthorn intake", Messages(self._on_delivery))
            try:
                await ensure_intake(connection, topology, declare)
                try:
                    await ensure_parked(connection, topology, declare)
                except TopologyError as error:
                    on_trouble("park", error)
                self._channel = await connection.channel(publisher_confirms=False)
                self._connection = connection  # before the first message: one that is not parked must not be acked
                await self._consume(self._channel, prefetch)
            except BaseException:
                self._connection = None
                await hang_up(connection)
                raise

    def _on_delivery(self, delivery: Delivery) -> None:
        self._unacked.add(delivery.tag)
        self._on_message(self, delivery)

    async def _consume(self, channel: AbstractChannel, prefetch: int) -> None:
        channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        await channel.basic_qos(prefetch_count=prefetch)
        consuming = await channel.basic_consume(self._queue, taken_before)
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
        return not (self._ended.done() or self.is_closed)

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be acked any more: the broker gives the messages out again."""
        connection, channel = self._connection, self._channel
        return connection is None or channel is None or channel.is_closed or connection.is_closed

    async def lost(self, probe_every: float) -> Exception:
        """Wait until the link is lost; returns why.

        Every ``probe_every`` seconds it asks the broker for the queue's consumers. A channel that does not answer, or a
        queue without consumers, is a loss that no frame would have reported.
        """
        connection, channel = self._connection, self._channel
        if connection is None or channel is None:
            return ConnectionError("the connection was never opened")
        endings: list[asyncio.Future[Any]] = [connection.closing, channel.closing, self._ended]
        while True:
            ended, _ = await asyncio.wait(endings, timeout=probe_every, return_when=asyncio.FIRST_COMPLETED)
            if self._ended in ended:
                return ConsumerLostError(f"the broker cancelled the consumer of {self._queue!r}")
            for ending in ended:
                reason = None if ending.cancelled() else ending.exception()
                return reason if isinstance(reason, Exception) else ConnectionError("the connection was lost")
            queue = await channel.queue_declare(self._queue, passive=True, timeout=PROBE_SECONDS_MAX)
            if queue.consumer_count == 0:
                return ConsumerLostError(f"connected, but {self._queue!r} has no consumer")

    async def ack_all(self, tags: Iterable[int]) -> None:
        """Ack these messages, but for those withheld. Returns once that is sent. May raise anything."""
        async with self._in_order:
            acks = self._unacked.settle_all(tags)
            for at, (each, is_with_earlier) in enumerate(acks, 1):
                if self._channel is not None:
                    await self._channel.basic_ack(each, multiple=is_with_earlier, wait=at == len(acks))

    def withhold(self, tag: int) -> bool:
        """Leave this message out of acks; returns False if there is nothing to leave out, or it is left out already."""
        is_free = not self.is_closed and self._unacked.is_free(tag)
        if is_free:
            self._unacked.withhold(tag)
        return is_free

    async def ack(self, tag: int) -> None:
        """Ack one message. May raise anything."""
        async with self._in_order:
            if self._unacked.settle(tag) and self._channel is not None:
                await self._channel.basic_ack(tag)

    async def reject(self, tag: int) -> None:
        """Have the broker park one message: its queue dead-letters there. May raise anything."""
        async with self._in_order:
            if self._unacked.settle(tag) and self._channel is not None:
                await self._channel.basic_reject(tag, requeue=False)

    async def cancel(self) -> None:
        """Stop consuming; the channel stays open for acks."""
        if self._channel is not None and self._consumer_tag is not None:
            await self._channel.basic_cancel(self._consumer_tag, timeout=PROBE_SECONDS_MAX)

    async def close(self) -> None:
        """Close; the broker requeues unacked messages. Never raises, and may be called again."""
        self._end()
        if self._connection is not None:
            await hang_up(self._connection)


async def taken_before(_: DeliveredMessage) -> NoReturn:
    """Stand for the consumer in aiormq, which gets no messages: ``Messages`` takes them."""
    raise AssertionError("a message reached aiormq")
