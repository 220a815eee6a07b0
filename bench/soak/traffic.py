"""A producer that publishes at a steady rate, and publishes again whatever was not confirmed."""

import asyncio
import time
from dataclasses import dataclass, field

from service.adapters.rabbitmq.publisher import Publication, UnroutableError
from service.ports.errors import UnavailableError
from tests.end_to_end.town import Town

TICK_SECONDS = 0.1
AGAIN_SECONDS = 0.3
BATCH_MAX = 250


@dataclass(slots=True)
class Traffic:
    """``confirmed`` has the ids of confirmed events, in order; what is due and not confirmed waits in memory."""

    town: Town
    rate: float
    confirmed: list[str] = field(default_factory=list)
    refused_count: int = 0
    made_count: int = 0
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._flowing.set()
        self._idle.set()

    async def run(self, seconds: float) -> None:
        """Publish what is due in so long, also what an outage held up; returns once everything is confirmed."""
        began_at = time.monotonic()
        while self.made_count < int(seconds * self.rate):
            await asyncio.sleep(TICK_SECONDS)
            await self._flowing.wait()
            due = int(min(time.monotonic() - began_at, seconds) * self.rate) - self.made_count
            await self._publish([self.town.event(self.made_count + n) for n in range(min(due, BATCH_MAX))])

    async def hold(self) -> None:
        """Publish nothing until ``go_on``; returns when nothing is on its way to the broker."""
        self._flowing.clear()
        await self._idle.wait()

    def go_on(self) -> None:
        """Publish again, also what was due meanwhile."""
        self._flowing.set()

    async def _publish(self, events: list[Publication]) -> None:
        self._idle.clear()
        self.made_count += len(events)
        while True:
            try:
                await self.town.publish(events)
            except (UnavailableError, UnroutableError):
                self.refused_count += 1
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                break
        self.confirmed += [event.message_id for event in events if event.message_id]
        self._idle.set()
