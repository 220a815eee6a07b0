"""All that is known of one event and of everyone who might have got it, as it stood at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service.core.deliveries.delivery import State
from service.core.reason import Reason


@dataclass(frozen=True, slots=True)
class ExplainedEvent:
    """The event in question. ``body`` is its envelope as stored; ``received_at`` the database's time, as all here."""

    uid: UUID
    event_type: str
    received_at: datetime
    is_test: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class KnownEndpoint:
    """An endpoint, as it is today. ``gates`` are those shut now: kind and end, None where it has none."""

    id: str
    url: str
    updated_at: datetime
    filter: Any = None
    gates: tuple[tuple[str, datetime | None], ...] = ()


@dataclass(frozen=True, slots=True)
class KnownSubscription:
    """A subscription, also one that was removed. ``event_type`` may be a pattern."""

    id: int
    endpoint_id: str
    event_type: str
    created_at: datetime
    removed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KnownDelivery:
    """A delivery of the event, the first one or a replay. ``last_status`` is the last HTTP status that came back."""

    id: str
    subscription_id: int
    endpoint_id: str
    replay_number: int
    state: State
    reason: Reason | None
    attempts_made: int
    last_status: int | None
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known: of one event, at one moment."""

    event: ExplainedEvent
    endpoints: Mapping[str, KnownEndpoint]
    subscriptions: Sequence[KnownSubscription]
    deliveries: Sequence[KnownDelivery]
