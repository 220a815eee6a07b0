"""Endpoints as answers show them: with their health, and one alone with its ETag."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from service.api.operation import Answer, Call, created
from service.api.v1.endpoints.answers import (
    ChangedEndpoint,
    CreatedEndpoint,
    EndpointShown,
    ScheduleShown,
    shown_fields,
)
from service.api.v1.endpoints.etag import etag_headers
from service.api.v1.endpoints.paths import PATH
from service.core.endpoints.retry_schedule import RetrySchedule
from service.core.endpoints.view import EndpointView, NewSecret
from service.core.keys.scope import includes
from service.ports.desk import HealthDesk

_HEALTH_WINDOW: Final = timedelta(hours=24)


class Showing:
    """Makes the answers. ``schedule`` is the service's own; ``now`` returns an aware UTC datetime."""

    def __init__(self, health: HealthDesk, schedule: RetrySchedule, now: Callable[[], datetime]) -> None:
        self._health = health
        self._schedule = schedule
        self._now = now

    async def list(self, call: Call, endpoints: Sequence[EndpointView]) -> Sequence[EndpointShown]:
        """Each of these endpoints; their URLs without queries."""
        return [EndpointShown(**fields) for fields in await self._fields(call, endpoints, shows_queries=False)]

    async def one(self, call: Call, endpoint: EndpointView) -> Answer:
        """The endpoint as it is."""
        (fields,) = await self._fields(call, [endpoint])
        shown = EndpointShown(**fields)
        return Answer(200, shown, etag_headers(endpoint, shown))

    async def changed(self, call: Call, endpoint: EndpointView, new_secret: NewSecret | None) -> Answer:
        """The endpoint after a change."""
        (fields,) = await self._fields(call, [endpoint])
        shown = ChangedEndpoint(**fields, **_shown_once(new_secret))
        return Answer(200, shown, etag_headers(endpoint, shown))

    async def created(self, call: Call, endpoint: EndpointView, new_secret: NewSecret) -> Answer:
        """A new endpoint."""
        (fields,) = await self._fields(call, [endpoint])
        shown = CreatedEndpoint(**fields, **_shown_once(new_secret))
        return created(shown, f"{PATH}/{endpoint.id}", etag_headers(endpoint, shown))

    async def _fields(
        self, call: Call, endpoints: Sequence[EndpointView], *, shows_queries: bool = True
    ) -> Sequence[dict[str, Any]]:
        shows_queries = shows_queries and includes(call.key.scopes, "write")
        ids = [each.id for each in endpoints]
        health = await self._health.of(call.organization_id, ids, self._now() - _HEALTH_WINDOW) if ids else {}
        return [
            shown_fields(each, health[each.id], shows_queries=shows_queries)
            | {"schedule": ScheduleShown.of(each.settings.retry, self._schedule)}
            for each in endpoints
        ]


def _shown_once(secret: NewSecret | None) -> dict[str, Any]:
    return {"secret": secret.text, "public_key": secret.public_key} if secret else {"secret": None, "public_key": None}
