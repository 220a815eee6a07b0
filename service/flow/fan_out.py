"""Fan-out, where it was deferred: deliveries made from the database in chunks, organizations taking turns.

Intake fans out what it can in memory, at once: events for few endpoints, of a directory that it has as it is now. For
everything else it records the event and leaves the rest to this loop, so that intake never works or waits for one
organization while the others do.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial

from msgspec.structs import replace

from service.core.endpoints.filter.filter import Filter, decode_envelope, parse_filter
from service.core.endpoints.order import line_of
from service.flow.dispatch import Dispatch
from service.flow.surroundings import Surroundings
from service.ports.errors import RefusedError, UnavailableError
from service.ports.observer import FannedOut, Trouble
from service.ports.store import Asking, FanOutStore

CHUNK_MAX = 250
"""Endpoints asked in one step: a commit of some 10 ms, so an organization waits that long for each one before it."""
POLL_SECONDS = 0.5
"""How soon a worker sees what another process deferred."""
RESTING_POLL_SECONDS = 0.05
REST_MAX_SECONDS = 1.0
"""An organization whose chunk was made waits until this worker has sent nearly all it has, but no longer than this."""
REFUSED_REST_SECONDS = 60.0
_FILTERS_KEPT_MAX = 4096
_FILTER_KEPT_CHARACTERS_MAX = 2048


class FanOut:
    """Makes the deliveries of events whose fan-out was deferred; any number of workers share them."""

    def __init__(self, store: FanOutStore, dispatch: Dispatch, around: Surroundings) -> None:
        self._store = store
        self._dispatch = dispatch
        self._around = around
        self._has_more = asyncio.Event()
        self._made: Counter[str] = Counter()  # deliveries since the worker was hungry, by organization
        self._failed: dict[str, float] = {}  # until when an organization rests whose step failed

    def wake(self) -> None:
        """A fan-out has just been deferred."""
        self._has_more.set()

    async def run(self) -> None:
        """Fan out until cancelled. Dying in a step repeats nothing and skips nothing: each is one transaction."""
        rested_since = self._around.clock.monotonic()
        while True:
            now = self._around.clock.monotonic()
            if self._dispatch.is_hungry or now - rested_since >= REST_MAX_SECONDS:
                self._made.clear()
            if not self._made:
                rested_since = now
            if not await self.round():
                await self._around.rest_until(self._has_more, RESTING_POLL_SECONDS if self._made else POLL_SECONDS)

    async def round(self) -> bool:
        """One step for each organization that has fan-outs and is not resting; whether there was any."""
        has_stepped = False
        organization_id: str | None = ""
        while organization_id is not None:
            organization_id = await self._around.keep_trying("fan_out", partial(self._next, organization_id))
            if organization_id is not None and await self._step(organization_id):
                has_stepped = True
        return has_stepped

    async def _next(self, after: str) -> str | None:
        now = self._around.clock.monotonic()
        self._failed = {each: until for each, until in self._failed.items() if until > now}
        resting = [each for each, made in self._made.items() if made >= CHUNK_MAX]
        return await self._store.next_organization(after, [*resting, *self._failed])

    async def _step(self, organization_id: str) -> bool:
        try:
            step = await self._store.step(organization_id, CHUNK_MAX, self._choose)
        except (RefusedError, UnavailableError) as error:  # the others go on
            self._around.observer.tell(Trouble("fan_out", error, {"organization_id": organization_id}))
            seconds = REFUSED_REST_SECONDS if isinstance(error, RefusedError) else REST_MAX_SECONDS
            self._failed[organization_id] = self._around.clock.monotonic() + seconds
            return False
        if step is not None and step.delivery_count:
            self._made[organization_id] += step.delivery_count
            self._around.observer.tell(FannedOut(step.delivery_count))
            self._dispatch.wake()
        return step is not None

    async def _choose(self, body: bytes, asking: Sequence[Asking]) -> Sequence[Asking]:
        """Those whose filter lets the event through, each with the line it queues in."""
        if all(each.filter is None and each.order_by is None for each in asking):
            return asking
        envelope, chosen, slices = decode_envelope(body), [], self._around.slices()
        for each in asking:
            wanted = None if each.filter is None else _filter(each.filter)
            if wanted is None or wanted.judge(envelope) is None:
                line = None if each.order_by is None else line_of(each.endpoint_id, each.order_by, envelope)
                chosen.append(each if line is None else replace(each, line=line))
            await slices()
        return chosen


def _filter(text: str) -> Filter | None:
    return _kept(text) if len(text) <= _FILTER_KEPT_CHARACTERS_MAX else _parsed(text)


def _parsed(text: str) -> Filter | None:
    """None if it is unreadable: then all events pass. Unwanted deliveries can be cancelled later, missing ones not."""
    parsed = parse_filter(json.loads(text))
    return parsed if isinstance(parsed, Filter) else None


_kept = lru_cache(_FILTERS_KEPT_MAX)(_parsed)
