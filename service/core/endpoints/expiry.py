"""Endpoints whose ``valid_until`` comes: their organization is warned, then told, in events of the same data."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from service.core.endpoints.gates.failing import only_operational
from service.core.events.event import Event
from service.core.events.operational import operational_event
from service.core.events.types.operational import (
    ENDPOINT_EXPIRED,
    ENDPOINT_EXPIRING,
    AboutEndpoint,
    EndpointExpiry,
    OperationalType,
)
from service.core.timestamp import format_timestamp

WARN_BEFORE: Final = timedelta(days=1)


class Expiry(Struct, frozen=True, gc=False):
    """When an endpoint expires, or has expired. ``patterns`` are those of its subscriptions."""

    organization_id: str
    endpoint_id: str
    valid_until: datetime
    patterns: Collection[str]

    def warning(self, now: datetime) -> Event | None:
        """What announces that it comes; once for each ``valid_until``, however often it is made."""
        return self._event(ENDPOINT_EXPIRING, now)

    def end(self, now: datetime) -> Event | None:
        """What announces that it has come."""
        return self._event(ENDPOINT_EXPIRED, now)

    def _event(self, kind: OperationalType, now: datetime) -> Event | None:
        if only_operational(self.patterns):
            return None
        at = format_timestamp(self.valid_until)
        data = EndpointExpiry(AboutEndpoint(self.endpoint_id), at)
        return operational_event(kind, f"{self.endpoint_id} {at}", self.organization_id, now, data)
