"""Deliveries of all organizations, which only the operator may list: beside the database, without an operation."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries.reader import DeliveryReader
from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.endpoints.gates.gates import read_gates
from service.adapters.postgres.engine import driver
from service.cli.database import connected
from service.cli.deliveries.reading import Found, attempts_max_of
from service.cli.deliveries.showing import Waiting
from service.cli.terminal import BAD_USAGE, CommandError, json_text
from service.core.deliveries.delivery import FINAL_STATES, DeliveryKey, State
from service.core.deliveries.view import STATUS_PATTERN, DeliveryFilter, DeliveryView, StatusRange, status_range
from service.core.endpoints.gates.gate import keeping_back
from service.core.walk import Walk
from service.settings import load_settings

_FILTERS: Final = {
    "endpoint_id": "endpoint_ids",
    "event_id": "event_id",
    "state": "states",
    "event_type": "event_types",
    "reason": "reasons",
}


def read_page(query: Mapping[str, Any]) -> Found:
    """One page, by the same query as the operation's. Raises ``CommandError``."""
    settings = load_settings()
    cursor, limit = query["cursor"], query["limit"]
    after = DeliveryKey.parse(cursor) if cursor is not None else None
    if cursor is not None and after is None:
        raise CommandError("--cursor: must be the next_cursor of an earlier list, unchanged.", BAD_USAGE)
    if query["message_id"] is not None:
        raise CommandError("--message: needs --organization, too.", BAD_USAGE)
    given = {ours: query[name] for name, ours in _FILTERS.items() if query[name]}
    wanted = DeliveryFilter(**given, statuses=list(map(_statuses, query["status_code"] or ())))
    walk = Walk(limit + 1, after, is_descending=query["order"] is None)

    async def read() -> tuple[Sequence[DeliveryView], Mapping[str, Waiting]]:
        async with connected(settings) as engine:
            rows = (await DeliveryReader(engine).list(wanted, walk)).rows
            return rows, await _waiting(engine, rows, settings.retry_attempts_max)

    rows, waiting = asyncio.run(read())
    found = rows[:limit]
    data = [json.loads(json_text(asdict(each))) for each in found]
    return {"data": data, "next_cursor": found[-1].id if len(rows) > limit else None}, waiting


async def _waiting(engine: AsyncEngine, rows: Sequence[DeliveryView], usual: int) -> Mapping[str, Waiting]:
    waits = [each for each in rows if each.state not in FINAL_STATES]
    endpoint_ids = {each.endpoint_id for each in waits}
    stored = await PostgresSubscriptionStore(engine).endpoints(endpoint_ids)
    most = {each.id: attempts_max_of(each.retry, usual) for _, each in stored}
    async with driver(engine) as connection:
        gates = await read_gates(connection, endpoint_ids)
    found = {}
    for each in waits:
        shut = gates.get(each.endpoint_id, ()) if each.state is State.PENDING else ()
        found[each.id] = Waiting(keeping_back(shut, each.next_attempt_at), most.get(each.endpoint_id))
    return found


def _statuses(text: str) -> StatusRange:
    if re.fullmatch(STATUS_PATTERN, text) is None:
        raise CommandError(f"--status-code: must be a status such as 503 or 5xx, not {text!r}.", BAD_USAGE)
    return status_range(text)
