"""Suspects: deliveries whose last worker was lost. Their attempts begin with care, so that their next loss is clear."""

import asyncio
from contextlib import suppress
from functools import partial

from service.core.deliveries.delivery import Lease
from service.core.deliveries.settlement import Settled, postpone
from service.core.endpoints.gates.gate import FRESH_SECONDS
from service.flow.deliver import Deliver
from service.flow.settle import Settle
from service.flow.surroundings import Surroundings
from service.flow.together import Together
from service.ports.store import DeliveryStore

LAST_CHANCES_MAX = 8  # one in flight; the others wait in slots that somebody else could use, so they are few


class Suspects:
    """Makes attempts as ``Deliver`` does, after writing down that they begin, and one last chance at a time.

    Dying between that and the POST counts a POST that was not made. It takes three such deaths to end a delivery.
    """

    def __init__(self, store: DeliveryStore, deliver: Deliver, settle: Settle, around: Surroundings) -> None:
        self._deliver = deliver
        self._settle = settle
        self._around = around
        self._begin = Together(lambda leases: around.keep_trying("begin", partial(store.begin, leases)))
        self._place = asyncio.Lock()
        self._last_chances = 0
        self._last: tuple[Lease, asyncio.Event] | None = None  # the chance taken last, and that its end is committed

    async def __call__(self, lease: Lease) -> Settled | None:
        """Attempt the delivery; what to settle, or None if the lease is over or nearly so."""
        if not lease.delivery.has_last_chance:
            return await self._attempt(lease)
        if self._last_chances >= LAST_CHANCES_MAX:
            return postpone(lease.delivery, lease.claim_number, self._around.draw())
        self._last_chances += 1
        try:
            async with self._place:
                await self._end_of_last()
                settled = await self._attempt(lease)
                if settled is not None:
                    self._last = lease, self._settle.watch(lease.delivery.key)
                return settled
        finally:
            self._last_chances -= 1

    async def _end_of_last(self) -> None:
        """Wait until the reply to the one before is committed: otherwise a crash now would end that delivery, too.

        When its lease has expired, it is lost anyway.
        """
        if self._last is not None:
            lease, is_committed = self._last
            left_seconds = lease.expires_at_monotonic - self._around.clock.monotonic()
            with suppress(TimeoutError):
                await self._around.within("the commit of a last chance", left_seconds, is_committed.wait())
            self._last = None

    async def _attempt(self, lease: Lease) -> Settled | None:
        asked_at = self._around.clock.monotonic()
        if not await self._begin(lease) or self._around.clock.monotonic() > asked_at + FRESH_SECONDS:
            return None
        return await self._deliver(lease)
