"""What the database knows about one event and every subscription that might have got it, from one snapshot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service.core.deliveries.delivery import State
from service.core.endpoints.gate import Gate
from service.core.reason import Reason


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


@dataclass(frozen=True, slots=True)
class Story:
    """The event with every endpoint, subscription and delivery of its organization that matters to it."""

    event: ExplainedEvent
    endpoints: Mapping[str, KnownEndpoint]
    subscriptions: Sequence[KnownSubscription]
    deliveries: Sequence[KnownDelivery]
    fan_out: FanOutUnderWay | None = None
