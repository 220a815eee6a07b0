"""Events, as shown to people."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Final
from uuid import UUID

MESSAGES_CALLED_MAX: Final = 10
"""How many messages with one external id are told of."""


@dataclass(frozen=True, slots=True)
class EventView:
    """An event. ``body`` is its envelope, exactly the bytes that are delivered."""

    uid: UUID
    body: bytes


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to list. ``since`` (inclusive) and ``until`` (exclusive) bound the time of receipt."""

    organization_id: str
    event_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class OwnTypeView:
    """An event type that an organization registered. ``schema`` is JSON Schema as text.

    ``sample`` is a sample of its ``data``, as JSON; None if none was given and the schema yields none.
    """

    name: str
    description: str
    schema: str
    sample: str | None
    created_at: datetime


class Registration(Enum):
    """The result of registering an event type."""

    NEW = auto()
    KNOWN = auto()  # the name is taken; the result is the existing type
