"""A bounded walk along the parked queue, from its head to where it ended when the walk began."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from service.adapters.rabbitmq.connection import unavailable
from service.adapters.rabbitmq.parked.again import Again
from service.adapters.rabbitmq.parked.reader import Arrived, ParkedReader
from service.adapters.rabbitmq.topology import Declare
from service.ports.errors import UnavailableError
from service.ports.parked import ParkedBusyError
from service.ports.source import Topology

LOOKED_AT_MAX: Final = 100_000
LOOKED_AT_BYTES_MAX: Final = 1024 * 1024 * 1024
RENEWED_FROM: Final = 10
"""Where the queue's delivery limit is not known, a message that was given back so often is parked anew: RabbitMQ 4
drops one, by default, that was given back 20 times."""


class ParkedWalk:
    """Looks at each message once. What is not acked stays in the queue, where it was."""

    def __init__(
        self,
        url: str,
        topology: Topology,
        declare: Declare,
        *,
        body_bytes_max: int,
        turn_seconds_max: float,
        seconds_max: float,
    ) -> None:
        self.looked_at_count = 0
        self.message_count = 0
        self.reached_limit: str | None = None
        self._url = url
        self._topology = topology
        self._declare: Declare = declare
        self._turn_seconds_max = turn_seconds_max
        self._seconds_max = seconds_max
        self._bytes = 0
        renewed_from = None if declare == "active" else RENEWED_FROM
        self._renewed_from = renewed_from
        self._reader = ParkedReader(topology.parked, body_bytes_max=body_bytes_max, body_kept_from=renewed_from)
        self._again = Again(url)

    async def open(self) -> None:
        """Connect and wait for our turn. Raises ``UnavailableError``; ``ParkedBusyError`` if it does not come."""
        try:
            with unavailable():
                await self._reader.open(
                    self._url, self._topology, self._declare, turn_seconds_max=self._turn_seconds_max
                )
        except UnavailableError as error:
            if isinstance(error.__cause__, ParkedBusyError):
                raise error.__cause__ from None
            raise
        with unavailable():
            self.message_count = await self._reader.count()

    async def close(self) -> None:
        """Give everything back. Never raises."""
        await self._reader.close()
        await self._again.close()

    async def windows(self) -> AsyncIterator[Sequence[Arrived]]:
        """The messages that were there when the walk began, some at a time. Raises ``UnavailableError``."""
        now = asyncio.get_running_loop().time
        until = now() + self._seconds_max
        while self.looked_at_count < self.message_count and not self.reached_limit:
            with unavailable("not read"):
                arrived = await self._reader.window(self.message_count - self.looked_at_count)
            if not arrived:
                return
            self.looked_at_count += len(arrived)
            self._bytes += sum(each.delivery.body_size for each in arrived)
            yield arrived
            if self._renewed_from is not None:
                await self._renew([each for each in arrived if each.returned_count >= self._renewed_from])
            self.reached_limit = self._limit_reached(is_over=now() > until)

    async def messages(self) -> AsyncIterator[Arrived]:
        """The same, one by one."""
        async for window in self.windows():
            for each in window:
                yield each

    async def ack(self, arrived: Arrived) -> None:
        """Take a message of the last window out of the queue. Raises ``UnavailableError``."""
        with unavailable("not taken out of the queue"):
            await self._reader.ack(arrived)

    def _limit_reached(self, *, is_over: bool) -> str | None:
        if is_over:
            return f"{self._seconds_max:.0f} seconds"
        if self.looked_at_count >= LOOKED_AT_MAX:
            return f"{LOOKED_AT_MAX} messages"
        return f"{LOOKED_AT_BYTES_MAX} bytes" if self._bytes >= LOOKED_AT_BYTES_MAX else None

    async def _renew(self, worn: Sequence[Arrived]) -> None:
        """Park messages anew, so that the broker counts from nought. One that cannot be stays as it is."""
        held = [each for each in worn if not each.is_acked and len(each.delivery.body) == each.delivery.body_size]
        if not held:
            return
        for each, error in zip(
            held, await self._again.park([each.delivery for each in held], self._topology.parked), strict=True
        ):
            if error is None:  # dying here leaves it in the queue twice, which a person can see
                await self.ack(each)
