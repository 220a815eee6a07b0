"""Operational events, made from the facts that they tell."""

from datetime import datetime
from hashlib import sha256

import msgspec

from service.core.events.event import Event
from service.core.events.types.operational import OperationalData, OperationalType
from service.core.timestamp import format_timestamp


def operational_event(
    kind: OperationalType, fact: str, organization_id: str, at: datetime, data: OperationalData
) -> Event:
    """The event that tells a fact. Made again, it has the same id, so it is recorded once.

    ``fact`` names what is told, distinctly among those of this type and organization.
    """
    event_id = f"evt_{sha256(f'{kind.name} {fact}'.encode()).hexdigest()[:32]}"
    envelope = {
        "id": event_id,
        "type": kind.name,
        "timestamp": format_timestamp(at),
        "organization_id": organization_id,
        "test": False,
        "data": data,
    }
    return Event(event_id, kind.name, at, organization_id, msgspec.json.encode(envelope))
