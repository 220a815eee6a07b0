"""Settle: attempts and state changes, committed in groups."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress

from service.core.deliveries.delivery import DeliveryKey, Lease, Step
from service.core.deliveries.settlement import Release, Settled, completed, fallbacks
from service.flow.limited import Limited
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
        self.limited = Limited(around)  # told of the places that a commit has freed
        self._around = around
        self._store = store
        self._batch_max = batch_max
        self._unsettled_max = unsettled_max
        self._waiting: deque[Settled] = deque()
        self._unfinished = 0
        self._flushing = 0
        self._watched: dict[DeliveryKey, asyncio.Event] = {}
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
        self._queue(settled)

    def give_back(self, leases: Iterable[Lease]) -> None:
        """Queue the release of leases whose POST has not begun; their deliveries are due at once.

        It never waits, so that nothing keeps a worker from giving back what it holds, and it holds only so many.
        """
        for lease in leases:
            released = Settled(lease.delivery, lease.claim_number, Release(), None)
            self._queue(completed(released, lease.grant, lease.line))

    def _queue(self, settled: Settled) -> None:
        self._waiting.append(settled)
        self._unfinished += 1
        self._idle.clear()
        if self._is_due:
            self._wakeup.set()

    def watch(self, key: DeliveryKey) -> asyncio.Event:
        """An event that is set once the next settlement of this delivery is over; to be called before ``put``."""
        return self._watched.setdefault(key, asyncio.Event())

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
            if self._watched:
                for each in batch:
                    if (watched := self._watched.pop(each.delivery.key, None)) is not None:
                        watched.set()
            self._unfinished -= len(batch)
            self._room.set()
            if not self._unfinished:
                self._idle.set()

    @property
    def _is_due(self) -> bool:
        """Whether a free flusher should flush: none is flushing, or ALONGSIDE_MIN settlements wait. No timer."""
        return bool(self._waiting) and (not self._flushing or len(self._waiting) >= ALONGSIDE_MIN)

    async def _flush(self, batch: Sequence[Settled]) -> None:
        try:
            await self._commit(batch)
        except RefusedError as error:
            await self._divide(batch, error)

    async def _commit(self, batch: Sequence[Settled]) -> None:
        started = self._around.clock.monotonic()
        moved = await self._around.keep_trying("settle", lambda: self._store.settle(batch))
        self._around.observer.tell(BatchSettled(len(batch), self._around.clock.monotonic() - started))
        for settled, has_moved in zip(batch, moved, strict=True):
            if settled.settlement.step is not Step.RELEASE:
                self._around.observer.tell(AttemptSettled(settled, has_moved))
                if settled.effects:
                    self.limited.heed(settled.effects)

    async def _divide(self, batch: Sequence[Settled], error: RefusedError) -> None:
        """Find the row that the database refuses, and record of it what can be recorded."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._flush(batch[:middle])
            await self._flush(batch[middle:])
            return
        (settled,) = batch
        self._around.observer.tell(Trouble("settle", error, {"delivery_id": str(settled.delivery.key)}))
        for fallback in fallbacks(settled, str(error)):
            with suppress(RefusedError):
                await self._commit([fallback])
                return
