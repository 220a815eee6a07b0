"""Events, as shown to people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Final
from uuid import UUID

from service.core.events.scope import ScopeWanted

MESSAGES_CALLED_MAX: Final = 10
"""How many messages with one external id are told of."""

PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""A page of large events ends early, but has at least one event."""

MESSAGE_EVENTS_MAX: Final = 1000
"""As many of a message's events are read."""


@dataclass(frozen=True, slots=True)
class EventView:
    """An event. ``body`` is its envelope, exactly the bytes that are delivered.

    It is empty once the events before it on a page come to ``PAGE_BYTES_MAX``.
    """

    uid: UUID
    body: bytes


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to list; None, or no values, means any. Of several types one must hold.

    ``message_id`` is the message that the event is about, ``scope`` what it belongs to; only one of them is given.
    ``since`` (inclusive) and ``until`` (exclusive) bound the time of receipt.
    """

    organization_id: str
    event_types: Sequence[str] = ()
    message_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    scope: ScopeWanted | None = None


@dataclass(frozen=True, slots=True)
class OwnTypeView:
    """An event type that an organization registered. ``schema`` is JSON Schema as text.

    ``sample`` is a sample of its ``data``, as JSON; None if none was given and the schema yields none. In a list the
    schema is empty once those before it on the page, with their samples, come to ``PAGE_BYTES_MAX``.
    """

    name: str
    description: str
    schema: str
    sample: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OwnTypeName:
    """The same without what can be large."""

    name: str
    description: str
    created_at: datetime


class Registration(Enum):
    """The result of registering an event type."""

    NEW = auto()
    KNOWN = auto()  # the name is taken; the result is the existing type
