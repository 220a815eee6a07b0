"""Reading the parked queue from its head, and giving everything back."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource

from service.adapters.rabbitmq.connection import hang_up, open_connection, unavailable
from service.adapters.rabbitmq.delivery import Delivery, Messages
from service.adapters.rabbitmq.link import taken_before
from service.adapters.rabbitmq.parked.arrival import message_of, returned_count
from service.adapters.rabbitmq.topology import Declare, ensure_parked
from service.core.parked.message import ParkedMessage
from service.ports.errors import UnavailableError
from service.ports.parked import ParkedBusyError
from service.ports.source import Topology

WINDOW_MAX: Final = 32
"""Given out by the broker at a time, which holds them in memory until they are read. A quorum queue also returns at
most so many in their order (RabbitMQ 3.10)."""
WINDOW_FIRST: Final = 8
WINDOW_BYTES: Final = 8 * 1024 * 1024
"""The next window is made so large that messages as large as the last ones come to this."""
QUIET_SECONDS_MAX: Final = 5.0
"""How long to wait for a message that the broker has counted; somebody else may have taken it."""
TURN_PAUSE_SECONDS: Final = 0.2


@dataclass(slots=True)
class Arrived:
    """A message in hand: it stays in the queue, for nobody else to take, until it is acked or given back."""

    delivery: Delivery
    message: ParkedMessage
    returned_count: int
    is_acked: bool = False


class _Digested(Messages):
    """Messages of which every byte is digested, and only bodies that ``keeps`` asks for are kept."""

    def __init__(
        self,
        on_arrival: Callable[[Delivery, bytes], None],
        on_piece: Callable[[], None],
        keeps: Callable[[Delivery], bool],
    ) -> None:
        super().__init__(self._arrived)
        self._on_arrival = on_arrival
        self._on_piece = on_piece
        self._keeps_body = keeps
        self._digest = sha256()
        self._is_kept: bool | None = None

    def _keeps(self, delivery: Delivery, piece: bytes) -> bool:
        if self._is_kept is None:
            self._is_kept = self._keeps_body(delivery)
        self._digest.update(piece)
        self._on_piece()
        return self._is_kept

    def _arrived(self, delivery: Delivery) -> None:
        digest, self._digest, self._is_kept = self._digest.digest(), sha256(), None
        self._on_arrival(delivery, digest)


class ParkedReader:
    """Takes the messages of the parked queue in hand, window by window, and gives back those that are not acked."""

    def __init__(self, queue: str, *, body_bytes_max: int, body_kept_from: int | None) -> None:
        """Larger bodies are dropped, but for messages that were returned ``body_kept_from`` times."""
        self._queue = queue
        self._body_bytes_max = body_bytes_max
        self._body_kept_from = body_kept_from
        self._waiting: list[Arrived] = []
        self._changed = asyncio.Event()
        self._window = WINDOW_FIRST
        self._in_hand: list[list[int]] = []  # the delivery tags of each window
        self._channel: AbstractChannel | None = None
        self._connection: AbstractConnection | None = None

    async def open(self, url: str, topology: Topology, declare: Declare, *, turn_seconds_max: float) -> None:
        """Connect and wait for our turn. Raises ``ParkedBusyError``, ``TopologyError``, or anything of a lost one."""
        messages = _Digested(self._on_arrival, self._changed.set, self._keeps)
        self._connection = await open_connection(url, "posthorn parked messages", messages)
        try:
            await _take_turn(self._connection, f"{topology.parked}.turn", turn_seconds_max)
            await ensure_parked(self._connection, topology, declare)
            self._channel = await self._connection.channel(publisher_confirms=False)
        except BaseException:
            await hang_up(self._connection)
            raise

    async def close(self) -> None:
        """Return what is in hand, window by window, the first one first, so that the queue keeps its order.

        With basic.nack, not by closing: from RabbitMQ 4.3 on that does not count as a failed delivery. If the
        connection or the process dies, the broker gives the messages back by itself. Never raises.
        """
        if self._connection is None:
            return
        with suppress(UnavailableError), unavailable("not given back"):
            last_tags = [tags[-1] for tags in self._in_hand if tags]
            for tag in (*last_tags, 0):  # 0: all that is left, also what is still on its way
                await self._in_use().basic_nack(tag, multiple=True, requeue=True, wait=True)
            await self._in_use().close()  # the answer says that the broker has seen it all
        await hang_up(self._connection)

    async def count(self) -> int:
        """How many messages are in the queue, without those in hand."""
        return (await self._in_use().queue_declare(self._queue, passive=True)).message_count or 0

    async def window(self, count_max: int) -> list[Arrived]:
        """The next messages; none if there are no more. May raise anything that a lost connection raises."""
        channel, ready = self._in_use(), await self.count()
        wanted = min(ready, self._window, count_max)
        if wanted:
            await channel.basic_qos(prefetch_count=wanted)
            consuming = await channel.basic_consume(self._queue, taken_before)
            await self._arrival_of(wanted)
            await channel.basic_cancel(consuming.consumer_tag or "")
        arrived, self._waiting = self._waiting, []
        if arrived:
            self._in_hand.append([each.delivery.tag for each in arrived])
            mean_bytes = sum(len(each.delivery.properties) + each.delivery.body_size for each in arrived) / len(arrived)
            self._window = max(1, min(WINDOW_MAX, int(WINDOW_BYTES // max(1, mean_bytes))))
        return arrived

    async def ack(self, arrived: Arrived) -> None:
        """Take a message of the last window out of the queue. Returns once that is sent."""
        tag = arrived.delivery.tag
        await self._in_use().basic_ack(tag, wait=True)
        arrived.is_acked = True
        self._in_hand[-1].remove(tag)

    def _keeps(self, delivery: Delivery) -> bool:
        if delivery.body_size <= self._body_bytes_max:
            return True
        return self._body_kept_from is not None and returned_count(delivery) >= self._body_kept_from

    def _on_arrival(self, delivery: Delivery, body_digest: bytes) -> None:
        body = delivery.body if delivery.body_size <= self._body_bytes_max else None
        message = message_of(delivery, body_digest, body)
        self._waiting.append(Arrived(delivery, message, returned_count(delivery)))
        self._changed.set()

    async def _arrival_of(self, count: int) -> None:
        """Wait for so many; for fewer if the queue is empty by now, because another program takes from it, too."""
        closing = (self._in_use().closing, self._connection.closing) if self._connection else ()
        while len(self._waiting) < count:
            self._changed.clear()
            waiting = asyncio.ensure_future(self._changed.wait())
            done, _ = await asyncio.wait(
                (waiting, *closing), timeout=QUIET_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED
            )
            waiting.cancel()
            if any(each in done for each in closing):
                raise UnavailableError("the connection was lost")
            if not done:
                return

    def _in_use(self) -> AbstractChannel:
        if self._channel is None:
            raise RuntimeError("not reading")
        return self._channel


async def _take_turn(connection: AbstractConnection, name: str, seconds_max: float) -> None:
    """Wait until nobody else reads: whoever has the exclusive queue ``name`` reads, and it goes with the connection.

    Who may not declare queues reads without a turn; then two at a time see different parts of the queue.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds_max
    while True:
        channel = await connection.channel(publisher_confirms=False)
        try:
            await channel.queue_declare(name, exclusive=True)
        except ChannelAccessRefused:
            return
        except ChannelLockedResource:
            if loop.time() > until:
                raise ParkedBusyError("somebody else is looking at the parked messages; try again") from None
            await asyncio.sleep(TURN_PAUSE_SECONDS)
        else:
            return
