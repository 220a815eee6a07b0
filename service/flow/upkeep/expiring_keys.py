"""API keys that are about to expire: counted, and each told of once a day."""

from collections.abc import Collection
from datetime import timedelta
from typing import Final

from service.flow.surroundings import Surroundings
from service.ports.observer import KeyExpires, KeysMeasured
from service.ports.requests import KEYS_EXPIRING_WITHIN_DAYS, ExpiringKey, ExpiringKeyStore

LOOK_SECONDS: Final = 600.0
WARN_SECONDS: Final = 86_400.0
NAMED_MAX: Final = 100


class ExpiringKeys:
    """A loop that any number of processes may run concurrently; each of them tells."""

    def __init__(self, store: ExpiringKeyStore, around: Surroundings) -> None:
        self._store = store
        self._around = around
        self._warned_at: dict[str, float] = {}  # keys, by id

    async def run(self) -> None:
        """Look, every few minutes."""
        while True:
            await self._around.keep_trying("expiring keys", self.look_once)
            await self._around.rest(LOOK_SECONDS)

    async def look_once(self) -> None:
        """Tell how many keys expire soon, and which of them were not told of within a day."""
        count, soonest = await self._store.expiring(timedelta(days=KEYS_EXPIRING_WITHIN_DAYS), NAMED_MAX)
        self._around.observer.tell(KeysMeasured(count))
        for key in self._not_warned_of(soonest):
            self._around.observer.tell(KeyExpires(key))

    def _not_warned_of(self, expiring: Collection[ExpiringKey]) -> Collection[ExpiringKey]:
        now = self._around.clock.monotonic()
        self._warned_at = {each: at for each, at in self._warned_at.items() if at > now - WARN_SECONDS}
        new = [each for each in expiring if each.key_id not in self._warned_at]
        self._warned_at |= {each.key_id: now for each in new}
        return new
