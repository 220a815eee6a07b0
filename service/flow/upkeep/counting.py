"""Counting what has ended: the figures of an overview are read from these counts."""

from typing import Final

from service.flow.surroundings import Surroundings
from service.ports.counts import CountStore
from service.ports.observer import DeliveriesCounted

COUNT_SECONDS: Final = 5.0
COUNT_BATCH_MAX: Final = 20_000
BACK_SECONDS: Final = 1.0


class Counting:
    """A loop that any number of workers may run concurrently; one of them counts at a time."""

    def __init__(self, store: CountStore, around: Surroundings) -> None:
        self._store = store
        self._around = around

    async def run(self) -> None:
        """Count, every few seconds; after an upgrade count what had ended before, a little at a time."""
        while True:
            is_behind = await self._around.keep_trying("counting", self.count_once)
            await self._around.rest(BACK_SECONDS if is_behind else COUNT_SECONDS)

    async def count_once(self) -> bool:
        """Take a step forward and one back; whether there is more to count now.

        Dying on either line loses nothing: how far the counts go is written with them.
        """
        on = await self._store.count_on(COUNT_BATCH_MAX)
        if on.lag_seconds is None:
            return False
        self._around.observer.tell(DeliveriesCounted(on.counted, on.lag_seconds))
        return on.is_behind or (await self._store.count_back(COUNT_BATCH_MAX)).is_behind
