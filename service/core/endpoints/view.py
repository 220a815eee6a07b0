"""Endpoints and subscriptions as shown to people, without secrets and header values."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from service.core.endpoints.gates.gate import Gate, GateKind
from service.core.endpoints.refusals import Ended, EndpointExpired, EndpointGone
from service.core.endpoints.settings import EndpointSettings
from service.core.endpoints.signing.signing import Signing
from service.core.reason import Reason


class EndpointState(StrEnum):
    """The state of an endpoint. Gone and expired ones have ended; of the others it follows from their gates."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"  # it failed for days
    GONE = "gone"  # its receiver answered 410
    EXPIRED = "expired"  # its ``valid_until`` has come


ENDED: Final = frozenset({EndpointState.GONE, EndpointState.EXPIRED})
"""The states of an endpoint that has ended by itself: it stays to be seen, and can no longer be changed."""
LISTED_STATES: Final = frozenset(EndpointState) - ENDED
"""What a list shows unless it is asked for others: the URL of one that has ended may be registered anew."""


def state_of(gates: Iterable[Gate], ended: EndpointState | None = None) -> EndpointState:
    """The state of an endpoint behind these gates, if it has not ``ended``."""
    kinds = {each.kind for each in gates}
    if ended is not None:
        return ended
    if GateKind.DISABLED in kinds:
        return EndpointState.DISABLED
    return EndpointState.PAUSED if GateKind.PAUSED in kinds else EndpointState.ACTIVE


@dataclass(frozen=True, slots=True)
class EndpointFilter:
    """Which endpoints to list; None means any. By default all that are there, without those that have ended.

    ``url`` is exactly that of the endpoint. ``search`` is a text in the description or in the URL before its query, in
    any case; or the whole id. ``is_failing``: whether the newest attempt at it failed, as its breaker remembers.
    """

    states: Collection[EndpointState] = LISTED_STATES
    url: str | None = None
    search: str | None = None
    is_failing: bool | None = None


LISTED: Final = EndpointFilter()


class RemovalReason(StrEnum):
    """Why a subscription ended; the CHECK of ``subscriptions.removed_because``."""

    DELETED = "deleted"
    GONE = "gone"
    EXPIRED = "expired"

    @property
    def cancels(self) -> Reason:
        """Why its deliveries are cancelled."""
        match self:
            case RemovalReason.DELETED:
                return Reason.SUBSCRIPTION_DELETED
            case RemovalReason.GONE:
                return Reason.GONE
            case RemovalReason.EXPIRED:
                return Reason.ENDPOINT_EXPIRED


@dataclass(frozen=True, slots=True)
class SecretHint:
    """A valid signing secret, without its text: ``hint`` is its last four characters.

    Of a pair of keys, ``public_key`` is the public one (``whpk_``), and the hint is of that. ``former`` is set for a
    secret that keeps a style which its endpoint has left.
    """

    hint: str
    created_at: datetime
    expires_at: datetime | None
    public_key: str | None = None
    former: Signing | None = None


@dataclass(frozen=True, slots=True)
class EndpointUrl:
    """Which endpoint has which URL, which is masked; for lists of something else that name endpoints."""

    id: str
    url: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EndpointView:
    """An endpoint, with its gates that are shut. One that has ended shows the event types that it was subscribed to.

    ``verified_at`` is when the receiver at its URL last sent a challenge back; None if it was not asked. ``version``
    grows with every change of its settings, event types and secrets, and when it is paused or resumed.
    """

    id: str
    settings: EndpointSettings
    secrets: tuple[SecretHint, ...]
    state: EndpointState
    gates: tuple[Gate, ...]
    created_at: datetime
    updated_at: datetime
    verified_at: datetime | None = None
    version: int = 1

    @property
    def ended(self) -> Ended | None:
        """Why nothing can be done to it any more; None if it has not ended by itself."""
        match self.state:
            case EndpointState.GONE:
                return EndpointGone()
            case EndpointState.EXPIRED:
                return EndpointExpired(self.settings.valid_until)
            case _:
                return None


@dataclass(frozen=True, slots=True)
class Subscriber:
    """An active subscription, as ``/api/v2/resthook_subscribers`` lists it."""

    id: int
    resthook: str
    target_url: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewSecret:
    """What is shown of a new secret: its text, once; or of a pair of keys the public one, while the other never is."""

    text: str | None
    public_key: str | None = None


@dataclass(frozen=True, slots=True)
class Registered:
    """The endpoint of a URL. ``new_secret`` is set, once, if the endpoint is new; ``added``: its new subscriptions."""

    endpoint: EndpointView
    new_secret: NewSecret | None
    added: tuple[Subscriber, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """An endpoint after a change. ``new_secret`` is set, once, if its signature style changed with a new secret."""

    endpoint: EndpointView
    new_secret: NewSecret | None = None


@dataclass(frozen=True, slots=True)
class Rotated:
    """A new secret. Older ones also sign until ``overlap_ends_at``; None means that they ended at once."""

    new_secret: NewSecret
    overlap_ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class Resthook:
    """An event type that can be subscribed to. ``modified_at`` is when a subscriber was last added or removed."""

    slug: str
    modified_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ResthookEvent:
    """An event. ``uid`` is a UUIDv7; ``body`` is the envelope, as delivered.

    ``body`` is None once the events before it have filled the page's limit of bytes.
    """

    uid: UUID
    resthook: str
    body: bytes | None
