"""What people ask of the parked queue, on RabbitMQ."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from service.adapters.rabbitmq.parked.again import Again
from service.adapters.rabbitmq.parked.reader import Arrived
from service.adapters.rabbitmq.parked.walk import ParkedWalk
from service.adapters.rabbitmq.topology import Declare
from service.core.audit.actor import Actor
from service.core.audit.entry import AuditOperation, State
from service.core.events.event import BODY_BYTES_MAX, Rejected
from service.core.parked.mending import Mend, judged
from service.core.parked.message import ParkedFilter, ParkedMessage
from service.ports.errors import UnavailableError
from service.ports.parked import AuditLog, Look, Sweep
from service.ports.source import Topology

KEPT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of what a look returns: bodies, properties and headers. The last message may go beyond it."""
REFUSED_SHOWN_MAX: Final = 100

Settle = Callable[[Sequence[Arrived]], Awaitable[Sequence[Exception | None]]]
"""What is done with messages before they are taken out; for each None, or why it must stay."""


@dataclass(frozen=True, slots=True)
class ParkedTimes:
    """How long to wait for a turn, and how long to look, and to publish or discard, before what was done is told."""

    turn_seconds: float
    look_seconds: float
    sweep_seconds: float


FOR_COMMANDS: Final = ParkedTimes(10, 30, 300)
FOR_PAGES: Final = ParkedTimes(1.5, 2, 2)
"""Together below the time that a page has (``PATIENCE_SECONDS``)."""


class RabbitParkedDesk:
    """Implements ``ParkedDesk``."""

    def __init__(
        self,
        url: str,
        topology: Topology,
        declare: Declare,
        *,
        log: AuditLog,
        now: Callable[[], datetime],
        times: ParkedTimes = FOR_COMMANDS,
    ) -> None:
        self._url = url
        self._topology = topology
        self._declare: Declare = declare
        self._log = log
        self._now = now
        self._times = times

    async def look(self, wanted: ParkedFilter, *, limit: int, skip: int = 0, body_bytes_max: int = 0) -> Look:
        """The first ``limit`` wanted messages after ``skip`` of them; bodies up to ``body_bytes_max`` come along."""
        found: list[ParkedMessage] = []
        kept_bytes, to_skip = 0, skip
        async with self._walk(max(body_bytes_max, BODY_BYTES_MAX), self._times.look_seconds) as walk:
            async for arrived in walk.messages():
                if not wanted.takes(arrived.message):
                    continue
                if to_skip:
                    to_skip -= 1
                    continue
                found.append(arrived.message.with_body_up_to(body_bytes_max))
                kept_bytes += len(arrived.delivery.properties) + len(found[-1].body or b"")
                if kept_bytes > KEPT_BYTES_MAX:
                    walk.reached_limit = f"{KEPT_BYTES_MAX} bytes to show"
                if len(found) == limit or walk.reached_limit:
                    break
            return Look(found, walk.looked_at_count, walk.message_count, walk.reached_limit)

    async def republish(
        self, wanted: ParkedFilter, mend: Mend, *, limit: int, is_dry: bool = False, by: Actor
    ) -> Sweep:
        """Publish wanted messages to the intake queue again, and take them out; at most ``limit``."""
        if not is_dry:
            mended = [name for name in ("body", "event_type", "organization_id") if getattr(mend, name) is not None]
            await self._enter(by, "parked.republish", wanted, {"limit": limit, "mended": mended})
        again = Again(self._url)

        def judge(message: ParkedMessage) -> bytes | Rejected:
            found = judged(message, mend, self._now())
            return found if isinstance(found, Rejected) else found[0]

        async def publish(taken: Sequence[Arrived]) -> Sequence[Exception | None]:
            # Straight to the queue: whoever else is bound to the exchange has had the message already.
            bodies = [(each, judge(each.message)) for each in taken]
            sound = [(each.delivery, body) for each, body in bodies if isinstance(body, bytes)]
            published = iter(
                await again.publish(sound, self._topology.intake_queue) if not is_dry else [None] * len(sound)
            )
            return [_Stays(body) if isinstance(body, Rejected) else next(published) for _, body in bodies]

        try:
            return await self._sweep(wanted, limit, publish, is_dry=is_dry)
        finally:
            await again.close()

    async def discard(self, wanted: ParkedFilter, *, limit: int, is_dry: bool = False, by: Actor) -> Sweep:
        """Take wanted messages out for good; at most ``limit``."""
        if not is_dry:
            await self._enter(by, "parked.discard", wanted, {"limit": limit})

        async def drop(taken: Sequence[Arrived]) -> Sequence[Exception | None]:
            return [None] * len(taken)

        return await self._sweep(wanted, limit, drop, is_dry=is_dry)

    async def _sweep(self, wanted: ParkedFilter, limit: int, settle: Settle, *, is_dry: bool) -> Sweep:
        done: list[str] = []
        refused: list[tuple[str, Rejected]] = []
        refused_count = 0
        async with self._walk(BODY_BYTES_MAX, self._times.sweep_seconds) as walk:
            async for window in walk.windows():
                taken = [each for each in window if wanted.takes(each.message)][: limit - len(done)]
                fault: Exception | None = None
                for each, error in zip(taken, await settle(taken), strict=True):
                    if isinstance(error, _Stays):
                        refused_count += 1
                        refused += [(each.message.id, error.rejected)] if refused_count <= REFUSED_SHOWN_MAX else []
                    elif error is not None:
                        fault = error
                    else:  # dying here leaves it in the queue, and what was published is there twice
                        if not is_dry:
                            await walk.ack(each)
                        done.append(each.message.id)
                if fault is not None:
                    raise UnavailableError(f"{fault}; {len(done)} were done before, the others stay") from fault
                if len(done) == limit:
                    break
            return Sweep(done, refused, refused_count, walk.looked_at_count, walk.message_count, walk.reached_limit)

    @asynccontextmanager
    async def _walk(self, body_bytes_max: int, seconds_max: float) -> AsyncIterator[ParkedWalk]:
        walk = ParkedWalk(
            self._url,
            self._topology,
            self._declare,
            body_bytes_max=body_bytes_max,
            turn_seconds_max=self._times.turn_seconds,
            seconds_max=seconds_max,
        )
        await walk.open()
        try:
            yield walk
        finally:
            await walk.close()

    async def _enter(self, by: Actor, operation: AuditOperation, wanted: ParkedFilter, state: State) -> None:
        """Before anything is done, as the broker's queue and the log cannot change together."""
        one = next(iter(wanted.ids)) if len(wanted.ids) == 1 else self._topology.parked
        await self._log.enter(by, operation, one, {**state, "reasons": sorted(wanted.reasons)})


class _Stays(Exception):  # noqa: N818 - a verdict among results, never raised
    def __init__(self, rejected: Rejected) -> None:
        self.rejected = rejected
