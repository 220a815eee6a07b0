"""How a lease is attempted: at once while it is fresh, after a question once it has waited, with care if suspect."""

from collections.abc import Awaitable, Callable
from functools import partial

from service.core.deliveries.delivery import Lease
from service.core.deliveries.settlement import Settled
from service.core.endpoints.gates.gate import FRESH_SECONDS
from service.flow.deliver import Deliver
from service.flow.surroundings import Surroundings
from service.flow.suspects import Suspects
from service.flow.together import Together
from service.ports.store import DeliveryStore

Attempt = Callable[[Lease], Awaitable[Settled | None]]
"""Makes the attempt; what to settle, or None if the lease is over, or its delivery must wait."""


class Attempts:
    """Chooses how a lease is attempted.

    A fresh lease needs no question: when it was granted, the database knew no gate and no newer endpoint. So nothing
    that was committed is ignored for longer than ``FRESH_SECONDS``, whatever a worker holds and however it stalls.
    """

    def __init__(self, store: DeliveryStore, deliver: Deliver, suspects: Suspects, around: Surroundings) -> None:
        self._deliver = deliver
        self._suspects = suspects
        self._around = around
        self._ask = Together(lambda leases: around.keep_trying("confirm", partial(store.still_wanted, leases)))

    def of(self, lease: Lease) -> Attempt:
        """How this lease is attempted now."""
        if lease.delivery.is_suspect:
            return self._suspects
        is_fresh = self._around.clock.monotonic() <= lease.granted_at_monotonic + FRESH_SECONDS
        return self._deliver if is_fresh else self._confirmed

    async def _confirmed(self, lease: Lease) -> Settled | None:
        asked_at = self._around.clock.monotonic()
        if not await self._ask(lease) or self._around.clock.monotonic() > asked_at + FRESH_SECONDS:
            return None
        return await self._deliver(lease)
