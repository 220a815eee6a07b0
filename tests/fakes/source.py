"""A broker's queue in memory: what was not acked comes again."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from service.core.events.event import Rejected
from service.core.reason import ParkReason
from service.ports.source import IncomingMessage


class MemoryEventSource:
    """The EventSource port. ``lose_channel`` puts back what was unacked, as a broker does when a client vanishes."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.is_connected = True
        self.ready: deque[IncomingMessage] = deque()
        self.unacked: list[IncomingMessage] = []
        self.acked: list[IncomingMessage] = []
        self.parked: list[tuple[IncomingMessage, ParkReason, str]] = []
        self._receipts = 0
        self._is_stopped = False
        self._has_changed = asyncio.Event()

    def publish(
        self,
        body: bytes,
        *,
        message_id: str | None = None,
        content_type: str | None = None,
        fault: Rejected | None = None,
    ) -> None:
        """What a producer does, and what the source finds wrong with it."""
        self._receipts += 1
        self.ready.append(IncomingMessage(body, self._receipts, message_id, content_type, fault=fault))
        self._has_changed.set()

    def lose_channel(self) -> None:
        """Put back what was not acked, in order, marked as redelivered."""
        for message in reversed(self.unacked):
            self.ready.appendleft(replace(message, is_redelivered=True))
        self.unacked.clear()
        self._has_changed.set()

    async def until_acked(self, count: int) -> None:
        """Wait until ``count`` messages have been acked in all."""
        async with asyncio.timeout(60):
            while len(self.acked) < count:
                self._has_changed.clear()
                await self._has_changed.wait()

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def next_batch(self, limit: int) -> Sequence[IncomingMessage]:
        while not self.ready and not self._is_stopped:
            self._has_changed.clear()
            await self._has_changed.wait()
        if self._is_stopped:
            return ()
        batch = [self.ready.popleft() for _ in range(min(limit, len(self.ready)))]
        self.unacked += batch
        return batch

    async def ack(self, batch: Sequence[IncomingMessage]) -> None:
        for message in batch:
            if message in self.unacked:  # else the channel was lost meanwhile: the copies are known
                self.unacked.remove(message)
                self.acked.append(message)
        self._has_changed.set()

    async def park(self, message: IncomingMessage, reason: ParkReason, detail: str) -> None:
        self.parked.append((message, reason, detail))
        await self.ack([message])

    async def stop(self) -> None:
        self._is_stopped = True
        self._has_changed.set()

    async def close(self) -> None:
        self.lose_channel()
