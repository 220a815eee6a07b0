"""Endpoints and subscriptions as people see them: no secret, no value of a header."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar
from uuid import UUID

from service.core.endpoints.settings import EndpointSettings

Key = TypeVar("Key")


class EndpointState(StrEnum):
    """Where an endpoint stands."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"  # no endpoint is, in this release: the name is kept for it
    GONE = "gone"  # its receiver answered 410


class RemovalReason(StrEnum):
    """Why a subscription ended; the CHECK of ``subscriptions.removed_because``."""

    DELETED = "deleted"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class SecretHint:
    """A signing secret that is valid, without its text: ``hint`` is its last four characters."""

    hint: str
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class EndpointView:
    """An endpoint. A gone one shows the event types that ended with it."""

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
    """The endpoint of a URL. ``secret`` is shown this once, when the endpoint was made now; ``added`` are new."""

    endpoint: EndpointView
    secret: str | None
    added: tuple[Subscriber, ...]


@dataclass(frozen=True, slots=True)
class Rotated:
    """A new secret. Older ones sign too until ``overlap_ends_at``; None: they ended at once."""

    secret: str
    overlap_ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class Resthook:
    """An event type that can be subscribed to. ``modified_at`` is when a subscriber last came or went."""

    slug: str
    modified_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ResthookEvent:
    """An event; ``uid`` is a UUIDv7, and ``body`` the envelope, as it is delivered.

    ``body`` is None when those before it in the walk have as many bytes as a page may.
    """

    uid: UUID
    resthook: str
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Walk(Generic[Key]):
    """A part of a list: from beside a key (None: from an end), in one direction, at most so many rows."""

    beside: Key | None
    is_descending: bool
    limit: int
