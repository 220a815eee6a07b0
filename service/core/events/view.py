"""Events as people look them up."""

from dataclasses import dataclass
from datetime import datetime
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
