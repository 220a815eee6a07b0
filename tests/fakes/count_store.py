"""The CountStore in memory."""

from collections import deque

from service.core.deliveries.delivery import OPEN_STATES, DeliveryKey
from service.ports.counts import CountingStep
from tests.fakes.database import MemoryDatabase

LAG_SECONDS = 2.0


class MemoryCountStore:
    """The CountStore port; ``counted`` is what was counted, in this order. ``errors`` are raised by ``count_on``."""

    def __init__(self, database: MemoryDatabase, *, lag_seconds: float = LAG_SECONDS) -> None:
        self._database = database
        self._lag_seconds = lag_seconds
        self._began_at: float | None = None
        self.counted: list[DeliveryKey] = []
        self.errors: deque[BaseException] = deque()

    async def count_on(self, limit: int) -> CountingStep:
        if self.errors:
            raise self.errors.popleft()
        if self._began_at is None:
            self._began_at = self._database.now - self._lag_seconds
            return CountingStep(0, is_behind=True, lag_seconds=self._lag_seconds)
        return self._count(limit, self._began_at, self._database.now - self._lag_seconds)

    async def count_back(self, limit: int) -> CountingStep:
        return self._count(limit, -1.0, self._began_at) if self._began_at is not None else CountingStep()

    def _count(self, limit: int, since: float, until: float) -> CountingStep:
        known = set(self.counted)
        ended = [
            key
            for key, row in self._database.deliveries.items()
            if row.state not in OPEN_STATES and since <= (row.ended_at or 0.0) < until and key not in known
        ]
        self.counted += ended[:limit]
        return CountingStep(len(ended[:limit]), is_behind=len(ended) > limit, lag_seconds=self._lag_seconds)
