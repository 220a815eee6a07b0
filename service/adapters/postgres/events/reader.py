"""Looking up stored events."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.both_ways import both_ways
from service.adapters.postgres.deliveries.list import IN_INDEX_ORDER, OF_EACH_TYPE, walk_types
from service.adapters.postgres.engine import driver
from service.adapters.postgres.events.in_scope import arguments_of, bounds_of, drivers_of, in_scope
from service.adapters.postgres.partitions import horizon
from service.core.events.scope import ScopeName
from service.core.events.uid import day_of
from service.core.events.view import MESSAGE_EVENTS_MAX, MESSAGES_CALLED_MAX, PAGE_BYTES_MAX, EventFilter, EventView
from service.core.walk import Walk

# $1 organization, $2 and $3 the first and last uid, $4 the limit. Each index ends with the uid, so the newest of a
# type, or of a message, are read from partition after partition until there are enough.
_NEWEST: Final = """
    SELECT uid, body FROM events
     WHERE organization_id = $1 AND {condition} AND uid >= $2 AND uid <= $3
     ORDER BY uid DESC LIMIT $4::int"""
_OF_EACH: Final = (
    "SELECT of_type.* FROM ({types}) AS each, LATERAL ({newest}) AS of_type ORDER BY uid DESC LIMIT $4::int"
)
# PostgreSQL knows the length of a large body without reading it, so only the bodies on the page are read. One event
# more comes without its body: it says that there are more.
_PAGE: Final = """
WITH newest AS ({newest})
SELECT uid, CASE WHEN before_it < $5::int THEN body ELSE '' END AS body FROM (
    SELECT uid, body,
           sum(octet_length(body)) OVER (ORDER BY uid DESC ROWS UNBOUNDED PRECEDING) - octet_length(body) AS before_it
      FROM newest) AS summed
 ORDER BY uid DESC
"""


def _page(newest: str) -> Mapping[bool, str]:
    return both_ways(_PAGE.format(newest=newest))


def _of_each(types: str) -> Mapping[bool, str]:
    return _page(_OF_EACH.format(types=types, newest=_NEWEST.format(condition=OF_EACH_TYPE)))


_OF_TYPES: Final = _of_each("SELECT unnest($6::text[]) AS event_type")
_OF_ALL_TYPES: Final = _of_each(walk_types("events", ["organization_id = $1", "uid >= $6", "uid <= $7"]))
_OF_MESSAGE: Final = _page(
    _NEWEST.format(condition="message_id = $6 AND ($7::text[] IS NULL OR event_type = ANY ($7))")
)


_OF_SCOPE: Final = {
    (name, has_types): _page(
        _OF_EACH.format(types=drivers_of(name, has_types=has_types), newest=_NEWEST.format(condition=in_scope(name)))
    )
    for name in ScopeName
    for has_types in (True, False)
}

# Each half uses its own index; an event that refers to the message in both ways appears once.
_ABOUT: Final = """
    (SELECT uid, body FROM events WHERE organization_id = $1 AND message_id = $2 ORDER BY uid LIMIT $3::int)
     UNION
    (SELECT uid, body FROM events WHERE organization_id = $1 AND reply_to_id = $2 ORDER BY uid LIMIT $3::int)"""


class EventReader:
    """Implements ``EventDesk``; only reads."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def list(self, wanted: EventFilter, walk: Walk[UUID]) -> Sequence[EventView]:
        """Events, by uid. Once their bodies come to ``PAGE_BYTES_MAX``, one more follows without its body."""
        first, last = bounds_of(wanted.since, wanted.until or horizon(), walk)
        more: Sequence[object]
        if wanted.message_id is not None:
            statement, more = _OF_MESSAGE, [wanted.message_id, list(wanted.event_types) or None]
        elif wanted.scope is not None:
            statement = _OF_SCOPE[wanted.scope.name, bool(wanted.event_types)]
            more = arguments_of(wanted.scope, wanted.event_types, first, last)
        elif wanted.event_types:
            statement, more = _OF_TYPES, [list(wanted.event_types)]
        else:
            statement, more = _OF_ALL_TYPES, [day_of(first)[0], day_of(last)[1]]
        async with driver(self._engine) as connection, connection.transaction(readonly=True):
            await connection.execute(IN_INDEX_ORDER)
            rows = await connection.fetch(
                statement[walk.is_descending],
                *(wanted.organization_id, first, last, walk.limit, PAGE_BYTES_MAX),
                *more,
            )
        return [EventView(*row) for row in rows]

    async def bodies(self, organization_id: str, uids: Sequence[UUID]) -> Sequence[bytes | None]:
        """The body of the organization's event for each uid, None for one that is no longer stored.

        A uid that occurs again counts again. Once they come to ``PAGE_BYTES_MAX``, the remaining are left out.
        """
        async with driver(self._engine) as connection, connection.transaction(readonly=True):
            rows = await connection.fetch(
                "SELECT uid, octet_length(body) FROM events WHERE uid = ANY ($1::uuid[]) AND organization_id = $2",
                *(list(uids), organization_id),
            )
            sizes, shown, total_bytes = dict(rows), list[UUID](), 0
            for uid in uids:
                if total_bytes >= PAGE_BYTES_MAX:
                    break
                shown.append(uid)
                total_bytes += sizes.get(uid, 0)
            stored = list(sizes.keys() & shown)
            rows = await connection.fetch("SELECT uid, body FROM events WHERE uid = ANY ($1::uuid[])", stored)
        found = dict(rows)
        return [found.get(uid) for uid in shown]

    async def find(self, organization_id: str, event_id: str) -> EventView | None:
        """The organization's event with this id; None if it does not exist."""
        async with driver(self._engine) as connection:
            uid = await uid_of(connection, organization_id, event_id)
            if uid is None:
                return None
            body = await connection.fetchval(
                "SELECT body FROM events WHERE uid = $1 AND organization_id = $2", uid, organization_id
            )
        return EventView(uid, body) if body is not None else None

    async def about_message(self, organization_id: str, message_id: str) -> tuple[Sequence[EventView], bool]:
        """The events for a message, oldest first, and whether the list is complete."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                f"""SELECT uid, body, count FROM (
                       SELECT uid, body, count(*) OVER () AS count,
                              sum(octet_length(body)) OVER (ORDER BY uid ROWS UNBOUNDED PRECEDING)
                                  - octet_length(body) AS before_it
                         FROM (SELECT uid, body FROM ({_ABOUT}) AS about ORDER BY uid LIMIT $3::int) AS told) AS summed
                    WHERE before_it < $4::int ORDER BY uid""",  # noqa: S608 - constants
                organization_id,
                message_id,
                MESSAGE_EVENTS_MAX + 1,
                PAGE_BYTES_MAX,
            )
        found = [EventView(row["uid"], row["body"]) for row in rows[:MESSAGE_EVENTS_MAX]]
        return found, not rows or len(found) == rows[0]["count"]

    async def messages_called(self, organization_id: str, external_id: str) -> Sequence[str]:
        """The ids of the messages with this external id, the newest first, at most ``MESSAGES_CALLED_MAX``."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                # A message is as new as its first event: a late one about an older message does not make that newer.
                """SELECT message_id FROM (
                       SELECT DISTINCT ON (message_id) message_id, uid FROM (
                           SELECT message_id, uid FROM events
                            WHERE organization_id = $1 AND external_id = $2 AND message_id IS NOT NULL
                            ORDER BY uid DESC LIMIT $3) AS named
                        ORDER BY message_id, uid) AS first
                    ORDER BY uid DESC LIMIT $4""",
                organization_id,
                external_id,
                MESSAGE_EVENTS_MAX,
                MESSAGES_CALLED_MAX,
            )
        return [row["message_id"] for row in rows]


async def uid_of(connection: asyncpg.Connection, organization_id: str, event_id: str) -> UUID | None:
    """The uid of an event, from the table of keys, which is narrow and not partitioned."""
    uid: UUID | None = await connection.fetchval(
        "SELECT event_uid FROM event_keys WHERE organization_id = $1 AND event_id = $2", organization_id, event_id
    )
    return uid
