"""What listeners are told, as values."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from service.core.deliveries.delivery import DeliveryKey, State
from service.core.deliveries.outcome import OutcomeKind
from service.core.reason import Reason
from service.core.stream.position import Place


class What(StrEnum):
    """What a listener may ask for."""

    EVENTS = "events"
    ATTEMPTS = "attempts"


class RecordedEvent(Struct, frozen=True, gc=False):
    """An event was committed. ``body`` is its envelope, exactly the bytes that are delivered."""

    place: Place
    organization_id: str
    event_type: str
    body: bytes

    @property
    def event_uid(self) -> UUID:
        """The event's internal id, which begins with when it was received."""
        return self.place.event_uid


class RecordedAttempt(Struct, frozen=True, gc=False):
    """An attempt was committed.

    ``state`` is what it left the delivery in. ``next_attempt_at`` is None if no other attempt follows, if the next one
    has begun meanwhile, or if the delivery waits in a line.
    """

    place: Place
    organization_id: str
    event_id: str
    event_type: str
    endpoint_id: str
    started_at: datetime
    duration_ms: int
    outcome: OutcomeKind
    reason: Reason | None
    status: int | None
    is_counted: bool
    detail: str
    reply: str
    state: State
    next_attempt_at: datetime | None

    @property
    def event_uid(self) -> UUID:
        """The event's internal id."""
        return self.place.event_uid

    @property
    def delivery_key(self) -> DeliveryKey:
        """Whose attempt it was."""
        return DeliveryKey(self.place.event_uid, self.place.subscription_id, self.place.replay_number)


Recorded = RecordedEvent | RecordedAttempt


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a listener is told of. No values mean any; ``endpoint_ids`` restrict attempts only."""

    organization_id: str
    what: AbstractSet[What]
    event_types: AbstractSet[str] = frozenset()
    endpoint_ids: AbstractSet[str] = frozenset()

    def has(self, row: Recorded) -> bool:
        """Whether the row is asked for."""
        if row.organization_id != self.organization_id:
            return False
        if self.event_types and row.event_type not in self.event_types:
            return False
        if isinstance(row, RecordedEvent):
            return What.EVENTS in self.what
        return What.ATTEMPTS in self.what and (not self.endpoint_ids or row.endpoint_id in self.endpoint_ids)


class GapReason(StrEnum):
    """Why a listener was not told of something."""

    SLOW = "slow"  # it did not take what it was sent
    TOO_OLD = "too_old"  # its cursor is older than what can be resumed
    TOO_MUCH = "too_much"  # there is more between its cursor and now than is read for one listener


class CloseReason(StrEnum):
    """Why a stream was closed."""

    KEY_REVOKED = "key_revoked"
    KEY_EXPIRED = "key_expired"
    SHUTDOWN = "shutdown"  # this process stops; open the stream again
    ERROR = "error"  # something went wrong on our side; open the stream again


@dataclass(frozen=True, slots=True)
class Gap:
    """Something was left out. It is in the lists, where ``events`` and ``deliveries`` begin with the first of it.

    They are the times when the first event, and the first event of an attempt, were received; None where nothing of the
    kind was left out.
    """

    reason: GapReason
    events_since: datetime | None
    deliveries_since: datetime | None


@dataclass(frozen=True, slots=True)
class Closed:
    """The stream ends."""

    reason: CloseReason


class Message(Struct, frozen=True):
    """What a listener is told. ``cursor`` says how far it has been told with it; ``text`` is a row as JSON."""

    cursor: str
    told: Recorded | Gap | Closed
    text: bytes = b""
