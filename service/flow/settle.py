"""Settle: attempts and state changes, committed in groups."""

import asyncio
from collections import deque
from collections.abc import Sequence

from service.core.deliveries.settlement import Settled
from service.flow.surroundings import Surroundings
from service.ports.errors import RefusedError
from service.ports.observer import AttemptSettled, BatchSettled, Trouble
from service.ports.store import DeliveryStore

FLUSHERS = 2  # one batch commits while the next one collects; more flushers only make the batches smaller
ALONGSIDE_MIN = 50  # this many waiting settlements justify a second commit; fewer wait for the current one to end


class Settle:
    """Commits settlements in batches: a batch is whatever arrived while the last commit ran."""

    def __init__(
        self,
        store: DeliveryStore,
        around: Surroundings,
        *,
        batch_max: int,
        unsettled_max: int,
    ) -> None:
        self._around = around
        self._store = store
        self._batch_max = batch_max
        self._unsettled_max = unsettled_max
        self._waiting: deque[Settled] = deque()
        self._unfinished = 0
        self._flushing = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._wakeup = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, settled: Settled) -> None:
        """Queue a settlement for the next commit.

        Waits while ``unsettled_max`` are uncommitted. So sending slows down with the database, and the number of
        attempts that a crash repeats is bounded.
        """
        while self._unfinished >= self._unsettled_max:
            self._room.clear()
            await self._room.wait()
        self._waiting.append(settled)
        self._unfinished += 1
        self._idle.clear()
        if self._is_due:
            self._wakeup.set()

    async def drained(self) -> None:
        """Wait until every queued settlement is committed."""
        await self._idle.wait()

    async def run(self) -> None:
        """Flush until cancelled; several of these run concurrently.

        Dying here loses the replies not yet committed: their leases expire, and the deliveries are attempted again.
        """
        while True:
            while not self._is_due:
                self._wakeup.clear()
                await self._wakeup.wait()
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch_max))]
            self._flushing += 1
            try:
                await self._flush(batch)
            finally:
                self._flushing -= 1
            self._unfinished -= len(batch)
            self._room.set()
            if not self._unfinished:
                self._idle.set()

    @property
    def _is_due(self) -> bool:
        """Whether a free flusher should flush: none is flushing, or ALONGSIDE_MIN settlements wait. No timer."""
        return bool(self._waiting) and (not self._flushing or len(self._waiting) >= ALONGSIDE_MIN)

    async def _flush(self, batch: Sequence[Settled]) -> None:
        started = self._around.clock.monotonic()
        try:
            moved = await self._around.keep_trying("settle", lambda: self._store.settle(batch))
        except RefusedError as error:
            await self._divide(batch, error)
            return
        self._around.observer.tell(BatchSettled(len(batch), self._around.clock.monotonic() - started))
        for settled, has_moved in zip(batch, moved, strict=True):
            self._around.observer.tell(AttemptSettled(settled, has_moved))

    async def _divide(self, batch: Sequence[Settled], error: RefusedError) -> None:
        """Find the row that the database refuses. Only it stays leased, is rescued, and ends as ``crashes_worker``."""
        if len(batch) == 1:
            self._around.observer.tell(Trouble("settle", error, {"delivery_id": str(batch[0].delivery.key)}))
            return
        middle = len(batch) // 2
        await self._flush(batch[:middle])
        await self._flush(batch[middle:])
