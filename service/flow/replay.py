"""Replay jobs, step by step: new deliveries of old events, which workers then claim as they claim all others.

A step makes few deliveries and commits. The rate, the endpoint's window and the order are kept by the store, in the
job's own rows, so it does not matter which worker takes the next step, nor how many there are.
"""

from functools import partial

from service.core.replays.job import ENDED
from service.flow.dispatch import Dispatch
from service.flow.surroundings import Surroundings
from service.ports.errors import RefusedError, UnavailableError
from service.ports.observer import ReplaysMade, Trouble
from service.ports.store import ReplayStore

POLL_SECONDS = 0.1
"""How often jobs are looked at: their rate is given out in portions of this time."""
IDLE_POLL_SECONDS = 1.0
"""How soon a worker sees a new job."""
FAILED_REST_SECONDS = 5.0
BUSY_REST_SECONDS_MAX = 1.0
"""While this worker has not sent nearly all it has, jobs wait, so that they take nothing from events; but no longer."""


class Replay:
    """Takes the steps of replay jobs, organizations in turn; any number of workers share them."""

    def __init__(self, store: ReplayStore, dispatch: Dispatch, around: Surroundings) -> None:
        self._store = store
        self._dispatch = dispatch
        self._around = around
        self._stepped: dict[str, str] = {}  # the last job of each organization that took a step here
        self._failed: dict[str, float] = {}  # until when an organization rests whose step failed

    async def run(self) -> None:
        """Step until cancelled. Dying in a step repeats nothing and skips nothing: each is one transaction."""
        rested_since = self._around.clock.monotonic()
        while True:
            now = self._around.clock.monotonic()
            if self._stepped and not self._dispatch.is_hungry and now - rested_since < BUSY_REST_SECONDS_MAX:
                await self._around.rest(POLL_SECONDS)
                continue
            rested_since = now
            if not await self.round():
                await self._around.rest(POLL_SECONDS if self._stepped else IDLE_POLL_SECONDS)

    async def round(self) -> bool:
        """One step for each organization that has jobs; whether any could do something."""
        has_worked, seen = False, set()
        organization_id: str | None = ""
        while organization_id is not None:
            organization_id = await self._around.keep_trying("replay", partial(self._next, organization_id))
            if organization_id is not None:
                seen.add(organization_id)
                has_worked |= await self._step(organization_id)
        self._stepped = {each: job_id for each, job_id in self._stepped.items() if each in seen}
        return has_worked

    async def _next(self, after: str) -> str | None:
        now = self._around.clock.monotonic()
        self._failed = {each: until for each, until in self._failed.items() if until > now}
        return await self._store.next_organization(after, list(self._failed))

    async def _step(self, organization_id: str) -> bool:
        try:
            step = await self._store.step(organization_id, self._stepped.get(organization_id, ""))
        except (RefusedError, UnavailableError) as error:  # the others go on
            self._around.observer.tell(Trouble("replay", error, {"organization_id": organization_id}))
            self._failed[organization_id] = self._around.clock.monotonic() + FAILED_REST_SECONDS
            return False
        if step is None:
            return False
        self._stepped[organization_id] = step.job_id
        if step.made_count or step.skipped_count or step.state in ENDED:
            made = ReplaysMade(step.job_id, step.made_count, step.skipped_count, step.state, step.reason)
            self._around.observer.tell(made)
        if step.made_count:
            self._dispatch.wake()
        return step.has_worked
