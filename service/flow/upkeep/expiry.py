"""Endpoints whose ``valid_until`` comes: their organizations are warned a day before, and in the end they end."""

from collections.abc import Sequence
from typing import Final

from service.flow.surroundings import Surroundings
from service.ports.errors import RefusedError
from service.ports.expiry import ExpiryStore, Warned
from service.ports.observer import EndpointExpires, Trouble

LOOK_SECONDS: Final = 10.0
END_BATCH_MAX: Final = 50
WARN_BATCH_MAX: Final = 500
REFUSED_REST_SECONDS: Final = 60.0


class EndpointExpiries:
    """A loop that any number of workers may run concurrently.

    Nothing depends on its being in time: fan-out, claims and attempts look at ``valid_until`` themselves.
    """

    def __init__(self, store: ExpiryStore, around: Surroundings) -> None:
        self._store = store
        self._around = around
        self._warned: Warned | None = None  # a new worker warns again, and each warning is announced once
        self._refused: dict[str, float] = {}  # until when an organization rests whose rows were refused

    async def run(self) -> None:
        """Look, every few seconds."""
        while True:
            if not await self._around.keep_trying("expiry", self.look_once):
                await self._around.rest(LOOK_SECONDS)

    async def look_once(self) -> bool:
        """End and warn; whether there may be more."""
        now = self._around.clock.monotonic()
        self._refused = {each: until for each, until in self._refused.items() if until > now}
        over = await self._store.over(END_BATCH_MAX, list(self._refused))
        for organization_id, endpoint_ids in over.items():
            await self._end(organization_id, endpoint_ids)
        is_more = sum(map(len, over.values())) == END_BATCH_MAX
        try:
            warned_count, self._warned = await self._store.warn(self._warned, WARN_BATCH_MAX)
        except RefusedError as error:
            self._around.observer.tell(Trouble("expiry", error))
            return is_more
        return is_more or warned_count == WARN_BATCH_MAX

    async def _end(self, organization_id: str, endpoint_ids: Sequence[str]) -> None:
        try:
            ended = await self._store.end(organization_id, endpoint_ids)
        except RefusedError as error:  # the others go on
            self._around.observer.tell(Trouble("expiry", error, {"organization_id": organization_id}))
            self._refused[organization_id] = self._around.clock.monotonic() + REFUSED_REST_SECONDS
            return
        for each in ended:
            self._around.observer.tell(EndpointExpires(each))
