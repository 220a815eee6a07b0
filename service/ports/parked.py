"""What people ask of the parked queue."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from service.core.audit.actor import Actor
from service.core.audit.entry import AuditOperation, State
from service.core.events.event import Rejected
from service.core.parked.mending import Mend
from service.core.parked.message import ParkedFilter, ParkedMessage
from service.ports.errors import UnavailableError


class ParkedBusyError(UnavailableError):
    """Somebody else has the parked messages in hand at this moment; asking again a little later helps."""


@dataclass(frozen=True, slots=True)
class Look:
    """Messages that were looked at, in the order of the queue, without being taken out.

    ``looked_at_count`` of the ``message_count`` messages in the queue were compared with the filter; there are more
    than were looked at if enough was found, or a limit was reached.
    """

    messages: Sequence[ParkedMessage]
    looked_at_count: int
    message_count: int
    reached_limit: str | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was published again or discarded.

    ``refused_count`` messages stayed in the queue, because they would be parked again at once; ``refused`` has the
    first of them, with the reasons. Unless ``reached_limit`` names a limit, or as many were done as asked for, every
    message that was there at the beginning was looked at.
    """

    done: Sequence[str]
    refused: Sequence[tuple[str, Rejected]]
    refused_count: int
    looked_at_count: int
    message_count: int
    reached_limit: str | None = None


class ParkedDesk(Protocol):
    """The parked queue. One person at a time; others wait a little, then get ``ParkedBusyError``.

    Every verb may raise ``UnavailableError``, and is bounded in messages, bytes and time. Nothing leaves the queue but
    what was asked for by its id or reason, and a message that is published again only after the broker has confirmed
    that the intake queue has it: dying in between leaves it in both, never in none.
    """

    async def look(self, wanted: ParkedFilter, *, limit: int, skip: int = 0, body_bytes_max: int = 0) -> Look:
        """The first ``limit`` wanted messages after ``skip`` of them; bodies up to ``body_bytes_max`` come along."""

    async def republish(
        self, wanted: ParkedFilter, mend: Mend, *, limit: int, is_dry: bool = False, by: Actor
    ) -> Sweep:
        """Publish wanted messages to the intake queue again, and take them out; at most ``limit``."""

    async def discard(self, wanted: ParkedFilter, *, limit: int, is_dry: bool = False, by: Actor) -> Sweep:
        """Take wanted messages out for good; at most ``limit``."""


class AuditLog(Protocol):
    """Where a change is entered that is made outside the database."""

    async def enter(self, by: Actor, operation: AuditOperation, object_id: str, after: State) -> None:
        """Enter what is about to be done. Unless this returns, it must not be done."""
