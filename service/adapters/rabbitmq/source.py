"""The queue of events, read in batches over a connection that is replaced whenever it is lost."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

from aiormq.abc import DeliveredMessage

from service.adapters.rabbitmq.connection import cancelled_by_nobody, unavailable
from service.adapters.rabbitmq.link import Link
from service.adapters.rabbitmq.parking import parked_properties
from service.adapters.rabbitmq.publisher import Outlet, UnroutableError
from service.adapters.rabbitmq.topology import Declare
from service.core.reason import ParkReason
from service.ports.errors import UnavailableError
from service.ports.source import IncomingMessage, Topology
from service.ports.surroundings import Draw, Pause

BACKOFF_SECONDS_MIN = 0.1
BACKOFF_SECONDS_MAX = 30.0
WATCHDOG_SECONDS = 30.0


class RabbitSource:
    """An ``EventSource`` on RabbitMQ.

    Messages wait in a buffer bounded by ``prefetch``, in the order in which the broker sent them, so that acking the
    last message of a batch acks the batch. If the connection or the process dies, unacked messages are redelivered.
    """

    name = "rabbitmq"

    def __init__(
        self,
        url: str,
        *,
        prefetch: int,
        topology: Topology,
        declare: Declare,
        on_trouble: Callable[[str, BaseException], None],
        draw: Draw,
        pause: Pause = asyncio.sleep,
        watchdog_seconds: float = WATCHDOG_SECONDS,
    ) -> None:
        """``on_trouble`` is called for every failure to connect and every loss; ``draw`` jitters the backoff.

        ``watchdog_seconds``: how long to stay connected without a consumer before reconnecting.
        """
        self._url = url
        self._prefetch = prefetch
        self._topology = topology
        self._declare: Declare = declare
        self._on_trouble = on_trouble
        self._draw = draw
        self._pause = pause
        self._watchdog_seconds = watchdog_seconds
        self._buffer: deque[DeliveredMessage] = deque()
        self._parked_tags: set[int] = set()  # of messages parked but not yet acked
        self._arrived = asyncio.Event()
        self._stopping = False
        self._link: Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._outlet = Outlet(url, "posthorn parking")

    @property
    def is_connected(self) -> bool:
        """Whether messages can arrive now."""
        return not self._stopping and self._link is not None and self._link.is_open

    async def run(self) -> None:
        """Connect, consume, and reconnect with backoff, without limit; returns after ``stop``."""
        if self._stopping:
            return
        self._keeper = asyncio.create_task(self._stay_connected())
        try:
            await self._keeper
        except asyncio.CancelledError:
            if not (self._stopping and cancelled_by_nobody()):
                raise

    async def _stay_connected(self) -> None:
        failures = 0
        now = asyncio.get_running_loop().time
        while True:
            began_at = now()
            error = await self._consume_until_lost()
            self._on_trouble("rabbitmq", error)
            failures = 0 if now() - began_at > BACKOFF_SECONDS_MAX else failures + 1
            await self._pause(backoff_seconds(failures, self._draw()))

    async def _consume_until_lost(self) -> Exception:
        buffer = self._buffer = deque()  # one buffer per link: a lingering old link must not add its messages later
        arrived = self._arrived

        async def on_message(message: DeliveredMessage) -> None:  # runs for every message, so it does nothing else
            buffer.append(message)
            arrived.set()

        try:
            self._link = await Link.open(
                self._url,
                self._topology,
                self._declare,
                prefetch=self._prefetch,
                on_message=on_message,
                within=self._watchdog_seconds,
            )
            return await self._link.lost(self._watchdog_seconds)
        except asyncio.CancelledError:
            if not cancelled_by_nobody():
                raise
            return ConnectionError("the connection was lost")
        except Exception as error:  # noqa: BLE001 - report any error, and connect again
            return error
        finally:
            if not self._stopping:  # otherwise the link stays open for the acks
                await self._drop_link()

    async def _drop_link(self) -> None:
        if self._link is not None:
            await self._link.close()
            self._link = None  # only now: if this is cancelled halfway, ``close`` finishes the job
        self._buffer = deque()  # the delivery tags are void
        self._parked_tags.clear()

    async def next_batch(self, limit: int) -> Sequence[IncomingMessage]:
        """Wait for a message, then take what else has arrived, at most ``limit``. Empty only after ``stop``."""
        while not self._buffer and not self._stopping:
            self._arrived.clear()
            await self._arrived.wait()
        if self._stopping:
            return ()
        take = self._buffer.popleft
        return [_incoming(take()) for _ in range(min(limit, len(self._buffer)))]

    async def ack(self, batch: Sequence[IncomingMessage]) -> None:
        """Ack ``batch`` and every message before it. A lost channel is not an error: copies are deduplicated.

        Returns once the ack is sent, so that a ``close`` right after it does not overtake it.
        """
        if not batch:
            return
        last = _original(batch[-1])
        tag = _tag(last)
        with suppress(UnavailableError), unavailable("not acked"):
            await last.channel.basic_ack(tag, multiple=True)
            self._parked_tags = {parked for parked in self._parked_tags if parked > tag}

    async def park(self, message: IncomingMessage, reason: ParkReason, detail: str) -> None:
        """Park the original bytes with the reason, confirmed. The caller acks. Raises ``UnavailableError``.

        Parking a message again changes nothing, so a batch can be repeated after an error. Dying between this and the
        ack parks it twice. If its channel is closed already, the broker redelivers it, and it is parked then.
        """
        original = _original(message)
        tag = _tag(original)
        if original.channel.is_closed or tag in self._parked_tags:
            return
        try:
            await self._outlet.publish(
                message.body,
                exchange=self._topology.parked,
                routing_key=original.routing_key or "",
                properties=parked_properties(original, reason, detail),
            )
        except UnroutableError as error:
            raise UnavailableError(f"no queue is bound to {self._topology.parked!r}") from error
        if not original.channel.is_closed:
            self._parked_tags.add(tag)

    async def stop(self) -> None:
        """Consume nothing more; messages already taken can still be acked until ``close``.

        Messages not taken stay unacked and go back to the queue with ``close``.
        """
        if self._stopping:
            return
        self._stopping = True
        self._arrived.set()
        if self._keeper is not None:
            self._keeper.cancel()
        if self._link is not None:
            with suppress(UnavailableError), unavailable("not cancelled"):
                await self._link.cancel()
        self._buffer.clear()

    async def close(self) -> None:
        """Close the connection. Unacked messages go back to the queue."""
        await self.stop()
        await self._drop_link()
        await self._outlet.close()


def backoff_seconds(failures: int, jitter: float) -> float:
    """Doubles from the minimum to the maximum, with 50 % jitter so that workers do not reconnect in step."""
    return min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN * 2.0 ** min(failures, 16)) * (1 + jitter / 2)


def _incoming(message: DeliveredMessage) -> IncomingMessage:
    properties = message.header.properties
    return IncomingMessage(
        body=message.body,
        receipt=message,
        message_id=properties.message_id,
        content_type=properties.content_type,
        is_redelivered=bool(message.redelivered),
    )


def _original(message: IncomingMessage) -> DeliveredMessage:
    """The receipt is aiormq's message, which knows its channel and its delivery tag."""
    return cast("DeliveredMessage", message.receipt)


def _tag(message: DeliveredMessage) -> int:
    """The delivery tag, which every delivery has. No default: acking 0 with ``multiple`` would ack everything."""
    return cast("int", message.delivery_tag)
