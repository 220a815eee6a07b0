"""Events that take long to judge against their organization's schemas: they wait by themselves.

Otherwise one of them would hold up its whole batch, and the next one, by half a second. Organizations take turns, and
each may have only so many waiting: what a broker gives out unacked is bounded, and the others need it.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

from service.core.events.event import Event, Rejected
from service.core.events.own_types.bounded_validator import TooMuchWorkError
from service.core.events.own_types.own_type import OwnEventType
from service.core.events.registry import Complaint
from service.core.reason import ParkReason
from service.flow.intake.turns import Turns
from service.flow.intake.unread import Carried

HELD_MAX: Final = 64
"""Messages that wait here or are being judged."""
HELD_OF_ONE_MAX: Final = 16
TURN_MAX: Final = 4
"""Messages of one organization in a turn: they are recorded together, and keep the others waiting for two seconds."""
TYPES_KNOWN_MAX: Final = 1_000

_Type = tuple[str, str]


class Costly:
    """A queue of messages for each organization, and the event types of which some take long."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._waiting: dict[str, dict[str, Carried]] = {}  # by event id; the organization whose turn it is is first
        self._held: Counter[str] = Counter()  # by organization: waiting, or taken but not done
        self._bytes_of: dict[_Type, int] = {}  # the smallest event that took long; the type found first is first
        self._has_changed = asyncio.Event()
        self._is_closed = False

    async def judge_at_once(self, own_type: OwnEventType, event: Event) -> Sequence[Complaint]:
        """Judge the event's data. Raises ``TooMuchWorkError`` if that takes long.

        An event of the same type that was no larger took long, too: then it is not tried while there is room aside.
        """
        found = (event.organization_id, own_type.name)
        if self._has_room(event.organization_id) and len(event.body) >= self._bytes_of.get(found, len(event.body) + 1):
            raise TooMuchWorkError
        try:
            return own_type.judge_at_once(event.body)
        except TooMuchWorkError:
            if found not in self._bytes_of and len(self._bytes_of) >= TYPES_KNOWN_MAX:
                del self._bytes_of[next(iter(self._bytes_of))]
            self._bytes_of[found] = min(len(event.body), self._bytes_of.get(found, len(event.body)))
            raise

    async def judge_in_thread(self, own_type: OwnEventType, event: Event) -> Sequence[Complaint]:
        """Judge the event's data off the event loop, however long that takes."""

        def judge() -> tuple[Sequence[Complaint], bool]:
            try:
                return own_type.judge_at_once(event.body), False
            except TooMuchWorkError:
                return own_type.judge(event.body), True

        complaints, takes_long = await self._turns.run(("costly", event.organization_id), judge)
        if not takes_long:  # size says little about this type
            self._bytes_of.pop((event.organization_id, own_type.name), None)
        return complaints

    def set_aside(self, carried: Carried) -> Rejected | None:
        """Keep a message until its organization's turn; returns why not if too many wait already.

        A copy takes the place of a message that waits: the source has lost that one's channel.
        """
        event = carried[1]
        theirs = self._waiting.get(event.organization_id, {})
        if event.id not in theirs:
            if not self._has_room(event.organization_id):
                detail = "takes long to validate against its schema, and as many events as may wait for that do"
                return Rejected(ParkReason.COSTLY, f"{detail}; publish it again later, or simplify the schema", "data")
            self._held[event.organization_id] += 1
        theirs[event.id] = carried
        self._waiting[event.organization_id] = theirs
        self._has_changed.set()
        return None

    def _has_room(self, organization_id: str) -> bool:
        return self._held[organization_id] < HELD_OF_ONE_MAX and self._held.total() < HELD_MAX

    async def next_batch(self) -> Sequence[Carried]:
        """Wait for a turn, and take it: the next organization's first messages. Empty only after ``close``."""
        while not (self._waiting or self._is_closed):
            self._has_changed.clear()
            await self._has_changed.wait()
        if self._is_closed:
            return ()
        organization_id = next(iter(self._waiting))
        theirs = self._waiting.pop(organization_id)
        batch = [theirs.pop(event_id) for event_id in list(theirs)[:TURN_MAX]]
        if theirs:
            self._waiting[organization_id] = theirs  # the last from now on
        return batch

    def done(self, batch: Sequence[Carried]) -> None:
        """These are recorded or parked."""
        self._held -= Counter(event.organization_id for _, event in batch)

    def close(self) -> None:
        """Take no more turns. What waits is unacked: the broker sends it again."""
        self._is_closed = True
        self._has_changed.set()
