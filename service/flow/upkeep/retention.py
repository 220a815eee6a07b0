"""Retention, day by day: days made ahead, what is still open in old ones ended, old ones dropped."""

from collections.abc import Collection

from service.flow.surroundings import Surroundings
from service.ports.observer import AgesMeasured, DaysMade, DeliveriesExpired, EndpointAges
from service.ports.retention import Ageing, RetentionStore

RETENTION_SECONDS = 600.0
DROP_AGAIN_SECONDS = 60.0
EXPIRE_BATCH_MAX = 1_000
WARN_SECONDS = 86_400.0
VACUUM_SECONDS = 10.0


class Retention:
    """Two loops that any number of workers may run concurrently."""

    def __init__(self, store: RetentionStore, around: Surroundings) -> None:
        self._store = store
        self._around = around
        self._warned_at: dict[str, float] = {}  # endpoints, by id

    async def run(self) -> None:
        """Keep the days, every few minutes."""
        while True:
            left_count = await self._around.keep_trying("retention", self.keep_once)
            await self._around.rest(DROP_AGAIN_SECONDS if left_count else RETENTION_SECONDS)

    async def run_vacuum(self) -> None:
        """Keep the tables small whose rows come and go: autovacuum looks once a minute, and may be off."""
        while True:
            await self._around.keep_trying("vacuum", self._store.vacuum)
            await self._around.rest(VACUUM_SECONDS)

    async def keep_once(self) -> int:
        """Make days ahead, end what old ones still hold, drop them, and warn of what comes next.

        Returns how many old days could not be dropped yet.

        Dying on any line leaves what the next round, or another worker's, begins with.
        """
        tell = self._around.observer.tell
        tell(DaysMade(await self._store.make_days()))
        while expired := await self._store.expire(EXPIRE_BATCH_MAX):
            for each in expired:
                tell(DeliveriesExpired(each))
        left_count = await self._store.drop_days()
        await self._store.purge()
        ages = await self._store.ages()
        tell(AgesMeasured(ages))
        for ageing in self._not_warned_of(ages.ageing):
            tell(EndpointAges(ageing, ages.retention_days))
        return left_count

    def _not_warned_of(self, ageing: Collection[Ageing]) -> Collection[Ageing]:
        """Those that this worker has not warned of within a day."""
        now = self._around.clock.monotonic()
        self._warned_at = {each: at for each, at in self._warned_at.items() if at > now - WARN_SECONDS}
        new = [each for each in ageing if each.endpoint_id not in self._warned_at]
        self._warned_at |= {each.endpoint_id: now for each in new}
        return new
