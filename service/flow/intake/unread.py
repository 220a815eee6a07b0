"""Messages of organizations whose directory must be read first: they wait by themselves, so that nobody else does."""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence

from service.core.events.event import Event
from service.flow.directory.directory import Directory
from service.flow.intake.judgement import is_at_hand
from service.ports.source import IncomingMessage

Carried = tuple[IncomingMessage, Event]
"""A message with the event it carries."""


class Unread:
    """A queue of them. While one batch is read for and recorded, the next one collects: many cost one read.

    They are bounded with ``room``, and by what the source gives out unacked.
    """

    def __init__(self, directory: Directory, *, batch_max: int) -> None:
        self._directory = directory
        self._batch_max = batch_max
        self._waiting: deque[Carried] = deque()
        self._held: Counter[str] = Counter()  # by organization: waiting, or taken but not done
        self._has_changed = asyncio.Event()
        self._is_closed = False

    def set_aside(self, batch: Sequence[Carried]) -> Sequence[Carried]:
        """Keep those that must wait; returns the others.

        An event also waits behind those of its organization that do, so that they are recorded in their order.
        """
        ready = []
        for carried in batch:
            event = carried[1]
            if event.organization_id not in self._held and is_at_hand(event, self._directory):
                ready.append(carried)
            else:
                self._held[event.organization_id] += 1
                self._waiting.append(carried)
        if self._waiting:
            self._has_changed.set()
        return ready

    async def room(self) -> None:
        """Wait until fewer than a batch are held."""
        while self._held.total() >= self._batch_max:
            await self._change()

    async def next_batch(self) -> Sequence[Carried]:
        """Wait for messages, and take them. Empty only when all are taken after ``close``."""
        while not (self._waiting or self._is_closed):
            await self._change()
        return [self._waiting.popleft() for _ in range(min(self._batch_max, len(self._waiting)))]

    def done(self, batch: Sequence[Carried]) -> None:
        """These are recorded or parked."""
        self._held -= Counter(event.organization_id for _, event in batch)
        self._has_changed.set()

    def close(self) -> None:
        """No more are set aside."""
        self._is_closed = True
        self._has_changed.set()

    async def _change(self) -> None:
        self._has_changed.clear()
        await self._has_changed.wait()
