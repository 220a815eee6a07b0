"""The queue of events, read in batches over a connection that is replaced whenever it is lost."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import cast

from service.adapters.rabbitmq.connection import cancelled_by_nobody, told_of, unavailable
from service.adapters.rabbitmq.delivery import Delivery
from service.adapters.rabbitmq.link import Link
from service.adapters.rabbitmq.parker import Parker, Unparked
from service.adapters.rabbitmq.topology import Declare
from service.core.reason import ParkReason
from service.ports.errors import UnavailableError
from service.ports.source import IncomingMessage, Topology
from service.ports.surroundings import Draw, Pause

BACKOFF_SECONDS_MIN = 0.1
BACKOFF_SECONDS_MAX = 30.0
WATCHDOG_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the source needs to ack or park a message: a delivery tag means something on its own link only."""

    link: Link
    delivery: Delivery


class RabbitSource:
    """An ``EventSource`` on RabbitMQ.

    Messages wait in a buffer bounded by ``prefetch``, in the order in which the broker sent them. If the connection or
    the process dies, unacked messages are redelivered.
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
        self._buffer: deque[Receipt] = deque()
        self._arrived = asyncio.Event()
        self._stopping = False
        self._link: Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._parker = Parker(url, topology, declare, prefetch=prefetch, on_trouble=on_trouble, draw=draw, pause=pause)

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
            self._on_trouble("rabbitmq", told_of(error))
            failures = 0 if now() - began_at > BACKOFF_SECONDS_MAX else failures + 1
            await self._pause(backoff_seconds(failures, self._draw()))

    async def _consume_until_lost(self) -> Exception:
        buffer = deque[Receipt]()  # one buffer per link: a lingering old link must not add its messages later
        arrived = self._arrived

        def on_message(link: Link, delivery: Delivery) -> None:  # runs for every message, so it does nothing else
            buffer.append(Receipt(link, delivery))
            arrived.set()

        try:
            self._link = Link(self._topology.intake_queue, on_message)
            await self._link.open(
                self._url,
                self._topology,
                self._declare,
                prefetch=self._prefetch,
                within=self._watchdog_seconds,
                on_trouble=self._on_trouble,
            )
            self._buffer = buffer  # only now: what is taken must be ackable, even if this is cancelled
            arrived.set()
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
        """Ack these messages, and no others. A lost channel is not an error: copies are deduplicated.

        Returns once the ack is sent, so that a ``close`` right after it does not overtake it.
        """
        for link, receipts in groupby(map(_receipt, batch), key=attrgetter("link")):
            with suppress(UnavailableError), unavailable("not acked"):
                await link.ack_all(each.delivery.tag for each in receipts)

    async def park(self, message: IncomingMessage, reason: ParkReason, detail: str) -> None:
        """Take a message over, to park its bytes with the reason. Returns at once, and raises nothing.

        Parking it again changes nothing. If its channel is closed already, the broker redelivers it, and it is parked
        then. One that was too large to be held is rejected, so that the broker parks it, and gives its own reason,
        ``rejected``. Only a queue that we declared ourselves is known to park: otherwise a notice is parked first.
        """
        link, delivery = (receipt := _receipt(message)).link, receipt.delivery
        if delivery.is_too_large and self._declare == "active":
            with suppress(UnavailableError), unavailable("not rejected"):
                await link.reject(delivery.tag)
        elif link.withhold(delivery.tag):
            self._parker.put(Unparked(link, delivery, reason, detail))

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
        await self._parker.close()
        await self._drop_link()


def backoff_seconds(failures: int, jitter: float) -> float:
    """Doubles from the minimum to the maximum, with 50 % jitter so that workers do not reconnect in step."""
    return min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN * 2.0 ** min(failures, 16)) * (1 + jitter / 2)


def _incoming(receipt: Receipt) -> IncomingMessage:
    delivery = receipt.delivery
    return IncomingMessage(
        delivery.body, receipt, delivery.message_id, delivery.content_type, delivery.is_redelivered, delivery.fault
    )


def _receipt(message: IncomingMessage) -> Receipt:
    return cast("Receipt", message.receipt)
