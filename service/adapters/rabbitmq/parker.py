"""Parks messages beside the intake, so that a parked queue that is missing or full holds up nobody."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count

from service.adapters.rabbitmq.connection import unavailable
from service.adapters.rabbitmq.delivery import Delivery
from service.adapters.rabbitmq.link import Link
from service.adapters.rabbitmq.parking import Encoded, parked_properties
from service.adapters.rabbitmq.properties import is_utf8
from service.adapters.rabbitmq.publisher import Outlet
from service.adapters.rabbitmq.topology import Declare
from service.core.reason import ParkReason
from service.ports.errors import UnavailableError
from service.ports.source import Topology
from service.ports.surroundings import Draw, Pause

AT_ONCE_MAX = 16
"""Published together, so that a flood of what must be parked is not parked one confirm after the other. Encoding them,
with 128 kB of headers each, holds the event loop for some 20 ms."""
PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 2.0
"""Between two tries while something is refused. Others that arrive meanwhile wait as long."""
LAST_TRY_SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class Unparked:
    """A message, withheld from acks on its link until it is parked."""

    link: Link
    delivery: Delivery
    reason: ParkReason
    detail: str

    async def settle(self) -> None:
        """Answer for it, now that it is parked. Of one that was too large only a notice is: its body was not held.

        So that one is rejected: if its queue dead-letters, the broker parks it whole, beside the notice.
        """
        link, tag = self.link, self.delivery.tag
        await (link.reject(tag) if self.delivery.is_too_large else link.ack(tag))


class Parker:
    """Publishes messages to the parked queue until the broker has confirmed them, then settles them."""

    def __init__(
        self,
        url: str,
        topology: Topology,
        declare: Declare,
        *,
        prefetch: int,
        on_trouble: Callable[[str, BaseException], None],
        draw: Draw,
        pause: Pause,
    ) -> None:
        self._topology = topology
        self._declare: Declare = declare
        self._prefetch = prefetch
        self._on_trouble = on_trouble
        self._draw = draw
        self._pause = pause
        self._outlet = Outlet(url, "posthorn parking", on_return=self._on_return)
        self._returned_count = 0
        self._names = count(1)
        self._waiting: deque[Unparked] = deque()
        self._working: asyncio.Task[None] | None = None

    def put(self, unparked: Unparked) -> None:
        """Park this one as soon as possible."""
        if len(self._waiting) >= self._prefetch:  # more than a link holds: some came with links that are closed
            self._waiting = deque(each for each in self._waiting if not each.link.is_closed)
        self._waiting.append(unparked)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Park what can be parked at once. The rest goes back to the queue with its link."""
        if self._working is not None:
            await asyncio.wait((self._working,), timeout=LAST_TRY_SECONDS_MAX)
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        self._waiting.clear()
        await self._outlet.close()

    async def _work(self) -> None:
        pause_seconds = PAUSE_SECONDS_MIN
        while self._waiting:
            tried = [self._waiting.popleft() for _ in range(min(AT_ONCE_MAX, len(self._waiting)))]
            failed, error = await self._try(tried)
            if error is None:
                pause_seconds = PAUSE_SECONDS_MIN
                continue
            self._waiting.extend(failed)  # at the end: what only one message suffers from holds up no other
            self._on_trouble("park", self._explained(error))
            await self._mend()
            await self._pause(pause_seconds * (1 + 0.2 * self._draw()))
            pause_seconds = min(2 * pause_seconds, PAUSE_SECONDS_MAX)

    async def _try(self, unparked: list[Unparked]) -> tuple[list[Unparked], BaseException | None]:
        """Publish some together; returns those that are not parked, and why."""
        unparked = [each for each in unparked if not each.link.is_closed]  # what comes again is parked then
        returned_before = self._returned_count
        results = await asyncio.gather(*map(self._publish, unparked), return_exceptions=True)
        if self._returned_count != returned_before:
            # The broker does not say in a usable way which; one that had a queue all the same is parked twice.
            return unparked, UnavailableError(f"no queue is bound to {self._topology.parked!r}")
        failed: list[Unparked] = []
        error: BaseException | None = None
        for each, result in zip(unparked, results, strict=True):
            if result is not None:
                failed.append(each)
                error = result
            else:
                # Dying here parks it twice, which a person can see, but never loses it.
                with suppress(UnavailableError), unavailable("not acked"):
                    await each.settle()
        return failed, error

    async def _publish(self, unparked: Unparked) -> None:
        delivery = unparked.delivery
        encoded = parked_properties(delivery, unparked.reason, unparked.detail, datetime.now(UTC))
        await self._outlet.publish(
            delivery.body,
            exchange=self._topology.parked,
            routing_key=delivery.routing_key.decode() if is_utf8(delivery.routing_key) else "",
            properties=Encoded(encoded, sent_as=str(next(self._names))),
        )

    def _on_return(self) -> None:
        self._returned_count += 1

    async def _mend(self) -> None:
        """Declare the parked queue again, in case it is missing."""
        try:
            await self._outlet.ensure_parked(self._topology, self._declare)
        except UnavailableError as error:
            self._on_trouble("park", error)

    def _explained(self, error: BaseException) -> UnavailableError:
        waiting = f"{len(self._waiting)} messages cannot be parked now; they stay in the queue, unacked"
        if len(self._waiting) >= self._prefetch:
            waiting += f", and as they are all that this process may hold ({self._prefetch}), nothing else arrives"
        return UnavailableError(f"{waiting}: {error}")
