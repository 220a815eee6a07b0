"""Events as people look them up."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from uuid import UUID


@dataclass(frozen=True, slots=True)
class EventView:
    """An event: ``body`` is its envelope, the very bytes that are delivered."""

    uid: UUID
    body: bytes


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events of an organization; ``since`` (inclusive) and ``until`` (exclusive) are about their receipt."""

    organization_id: str
    event_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class OwnTypeView:
    """An event type that an organization registered. ``schema`` is JSON Schema as text."""

    name: str
    description: str
    schema: str
    created_at: datetime


class Registration(Enum):
    """What became of a wish to register a type."""

    NEW = auto()
    KNOWN = auto()  # the name is taken: the type is the one that was there
    TOO_MANY = auto()
