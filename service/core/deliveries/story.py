"""What the database knows about one event and the subscriptions that might have got it, from one snapshot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, Final
from uuid import UUID

from service.core.deliveries.delivery import State
from service.core.endpoints.gates.gate import Gate
from service.core.reason import Reason
from service.core.walk import Walk


@dataclass(frozen=True, slots=True)
class ExplainedEvent:
    """The event. ``body`` is its envelope as stored; all times in this module are from the database's clock."""

    uid: UUID
    event_type: str
    received_at: datetime
    is_test: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class KnownEndpoint:
    """An endpoint as it is now, with its gates that are shut. ``url`` is masked."""

    id: str
    url: str
    updated_at: datetime
    filter: Any = None
    gates: tuple[Gate, ...] = ()
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class KnownSubscription:
    """A subscription, active or removed. ``event_type`` may be a pattern."""

    id: int
    endpoint_id: str
    event_type: str
    created_at: datetime
    removed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KnownDelivery:
    """A delivery of the event, the first one or a replay. ``last_status`` is the last HTTP status received.

    ``waits_for`` is the id of the delivery before it in its line, if it must wait for one.
    """

    id: str
    subscription_id: int
    endpoint_id: str
    replay_number: int
    state: State
    reason: Reason | None
    attempts_made: int
    last_status: int | None
    next_attempt_at: datetime | None
    waits_for: str | None = None


@dataclass(frozen=True, slots=True)
class FanOutUnderWay:
    """Endpoints after ``done_through`` may still get the event, through subscriptions up to ``frontier``."""

    done_through: str
    frontier: int


class Section(IntEnum):
    """Where explain lists a subscription: what matters most comes first."""

    DEAD = 0
    CANCELLED = 1
    GATED = 2
    PENDING = 3
    LEASED = 4
    DELIVERED = 5
    ASKING = 6  # it asks for events of this type, and has no delivery of this one
    OTHER_TYPE = 7
    REMOVED = 8  # without a delivery of the event; what was delivered is not forgotten


SURVEY_MAX: Final = 500
"""Of those that ask for the event's type and have no delivery, as many are looked at for the summary."""
COUNT_MAX: Final = 100_000


@dataclass(frozen=True, slots=True, order=True)
class Listed:
    """A subscription's place in the list. Places are ordered by section, then by subscription."""

    section: Section
    subscription_id: int


@dataclass(frozen=True, slots=True)
class StoryPage:
    """Which subscriptions to read: those of these sections that the walk finds."""

    sections: frozenset[Section]
    walk: Walk[Listed]


@dataclass(frozen=True, slots=True)
class Story:
    """The event with the subscriptions of a page, and what explains them.

    ``counts`` are the sizes of all sections. ``surveyed`` are the first subscriptions of ``ASKING``; they are here
    whatever the page, for the summary. ``subscriptions`` holds these, those ``listed``, and others of their endpoints.
    """

    event: ExplainedEvent
    endpoints: Mapping[str, KnownEndpoint]
    subscriptions: Sequence[KnownSubscription]
    deliveries: Sequence[KnownDelivery]
    fan_out: FanOutUnderWay | None = None
    counts: Mapping[Section, int] = field(default_factory=dict)
    surveyed: frozenset[int] = frozenset()
    listed: Sequence[Listed] = ()
