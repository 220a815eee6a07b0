"""Deliveries and attempts, as shown to people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from service.core.deliveries.delivery import State
from service.core.deliveries.outcome import OutcomeKind
from service.core.endpoints.gates.gate import Gate
from service.core.events.scope import ScopeWanted
from service.core.reason import Reason

STATUS_PATTERN: Final = r"[0-9]{1,3}|[0-9]xx"

StatusRange = tuple[int, int]
"""HTTP statuses from the first to the last, both included."""


def status_range(text: str) -> StatusRange:
    """``503`` or ``5xx``; what does not match ``STATUS_PATTERN`` raises ValueError."""
    return int(text.replace("x", "0")), int(text.replace("x", "9"))


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries to list; None, or no values, means any. Of several values one must hold.

    ``statuses`` are those of the last attempt that got a reply. ``message_id`` is the message that the event is about,
    ``scope`` what the event belongs to; with a scope there is an organization, but neither a message nor an event.
    ``since`` (inclusive) and ``until`` (exclusive) bound the time when the event was received.
    """

    organization_id: str | None = None
    endpoint_ids: Sequence[str] = ()
    event_id: str | None = None
    message_id: str | None = None
    states: Sequence[State] = ()
    event_types: Sequence[str] = ()
    statuses: Sequence[StatusRange] = ()
    reasons: Sequence[Reason] = ()
    since: datetime | None = None
    until: datetime | None = None
    scope: ScopeWanted | None = None


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery as shown to people.

    ``last_status`` is the HTTP status of the last attempt that got a reply, ``held_by`` the gate that keeps a pending
    delivery back beyond when it is due, and ``attempts_max`` what its endpoint's schedule allows as long as it is open.
    """

    id: str
    event_id: str
    event_type: str
    organization_id: str
    endpoint_id: str
    subscription_id: int
    replay_number: int
    state: State
    reason: Reason | None
    last_status: int | None
    attempts_made: int
    created_at: datetime
    next_attempt_at: datetime | None
    ended_at: datetime | None
    held_by: Gate | None = None
    attempts_max: int | None = None


@dataclass(frozen=True, slots=True)
class AttemptView:
    """An attempt as shown to people.

    ``sent_headers`` are those that signed the request and the endpoint's own, with a mask instead of secret values;
    ``reply_headers`` the first of the reply's. Both are None where they were not recorded.
    """

    number: int
    outcome: OutcomeKind
    reason: Reason | None
    status: int | None
    started_at: datetime
    duration_ms: int
    is_counted: bool
    detail: str
    reply: str
    sent_headers: Mapping[str, str] | None = None
    reply_headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class DeliveryDetail:
    """A delivery with every attempt, oldest first. ``url``, masked, and ``signature_style`` are the endpoint's now."""

    delivery: DeliveryView
    attempts: Sequence[AttemptView]
    url: str
    signature_style: str
    body_bytes: int | None


@dataclass(frozen=True, slots=True)
class ReplayRefused:
    """Why this delivery cannot be replayed now, as a sentence for people."""

    sentence: str
