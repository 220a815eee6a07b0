"""Deliveries of all organizations, which only the operator may list: beside the database, without an operation."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from service.adapters.postgres.deliveries.reader import DeliveryReader
from service.api.v1.deliveries import DeliveryItem
from service.cli.calls.calling import NOWHERE
from service.cli.database import connected
from service.cli.terminal import BAD_USAGE, CommandError
from service.core.deliveries.delivery import DeliveryKey
from service.core.deliveries.view import STATUS_PATTERN, DeliveryFilter, DeliveryView, StatusRange, status_range
from service.core.walk import Walk
from service.settings import load_settings

_FILTERS: Final = {
    "endpoint_id": "endpoint_ids",
    "event_id": "event_id",
    "state": "states",
    "event_type": "event_types",
    "reason": "reasons",
}


def read_page(query: Mapping[str, Any]) -> Mapping[str, Any]:
    """One page, by the same query as the operation's. Raises ``CommandError``."""
    settings = load_settings()
    if settings.database_url is None:
        raise CommandError(NOWHERE, BAD_USAGE)
    cursor, limit = query["cursor"], query["limit"]
    after = DeliveryKey.parse(cursor) if cursor is not None else None
    if cursor is not None and after is None:
        raise CommandError("--cursor: must be the next_cursor of an earlier list, unchanged.", BAD_USAGE)
    if query["message_id"] is not None:
        raise CommandError("--message: needs --organization, too.", BAD_USAGE)
    given = {ours: query[name] for name, ours in _FILTERS.items() if query[name]}
    wanted = DeliveryFilter(**given, statuses=list(map(_statuses, query["status_code"] or ())))
    walk = Walk(limit + 1, after, is_descending=query["order"] is None)

    async def read() -> Sequence[DeliveryView]:
        async with connected(settings) as engine:
            return (await DeliveryReader(engine, settings.retry_schedule).list(wanted, walk)).rows

    rows = asyncio.run(read())
    found = rows[:limit]
    data = [{"organization_id": each.organization_id, **_shown(each)} for each in found]
    return {"data": data, "next_cursor": found[-1].id if len(rows) > limit else None}


def _shown(delivery: DeliveryView) -> Mapping[str, Any]:
    """The delivery as the operation shows it."""
    return DeliveryItem.model_validate(delivery, from_attributes=True).model_dump(mode="json", exclude={"event"})


def _statuses(text: str) -> StatusRange:
    if re.fullmatch(STATUS_PATTERN, text) is None:
        raise CommandError(f"--status-code: must be a status such as 503 or 5xx, not {text!r}.", BAD_USAGE)
    return status_range(text)
