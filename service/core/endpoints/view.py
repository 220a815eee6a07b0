"""Endpoints and subscriptions as shown to people, without secrets and header values."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar
from uuid import UUID

from service.core.endpoints.settings import EndpointSettings

Key = TypeVar("Key")


class EndpointState(StrEnum):
    """The state of an endpoint."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"  # not used in this release; the name is reserved
    GONE = "gone"  # its receiver answered 410


class RemovalReason(StrEnum):
    """Why a subscription ended; the CHECK of ``subscriptions.removed_because``."""

    DELETED = "deleted"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class SecretHint:
    """A valid signing secret, without its text: ``hint`` is its last four characters."""

    hint: str
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class EndpointView:
    """An endpoint. A gone endpoint shows the event types that it was subscribed to."""

    id: str
    settings: EndpointSettings
    secrets: tuple[SecretHint, ...]
    state: EndpointState
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Subscriber:
    """An active subscription, as ``/api/v2/resthook_subscribers`` lists it."""

    id: int
    resthook: str
    target_url: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Registered:
    """The endpoint of a URL. ``secret`` is set, once, if the endpoint is new; ``added`` are its new subscriptions."""

    endpoint: EndpointView
    secret: str | None
    added: tuple[Subscriber, ...]


@dataclass(frozen=True, slots=True)
class Rotated:
    """A new secret. Older ones also sign until ``overlap_ends_at``; None means that they ended at once."""

    secret: str
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


@dataclass(frozen=True, slots=True)
class Walk(Generic[Key]):
    """A page of a list: at most ``limit`` rows next to the key ``beside`` (None: from the list's start or end)."""

    beside: Key | None
    is_descending: bool
    limit: int
