"""Looking up stored events."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries.list import IN_INDEX_ORDER, walk_types
from service.adapters.postgres.engine import driver
from service.core.events.uid import day_of, first_uid_from
from service.core.events.view import MESSAGES_CALLED_MAX, EventFilter, EventView

PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""A page of large events ends early, but has at least one event."""
MESSAGE_EVENTS_MAX: Final = 1000


# $1 organization, $2 and $3 the first and last uid, $4 the limit, $5 the limit of bytes. Each index ends with the uid,
# so the newest of a type are read from partition after partition until there are enough.
_NEWEST = """
    SELECT uid, body FROM events
     WHERE organization_id = $1 AND event_type = {event_type} AND uid >= $2 AND uid <= $3
     ORDER BY uid DESC LIMIT $4::int"""
_OF_EACH = "SELECT of_type.* FROM ({types}) AS each, LATERAL ({newest}) AS of_type ORDER BY uid DESC LIMIT $4::int"
# PostgreSQL knows the length of a large body without reading it, so only the bodies on the page are read.
_PAGE = """
WITH newest AS ({newest})
SELECT uid, body, count FROM (
    SELECT uid, body, count(*) OVER () AS count,
           sum(octet_length(body)) OVER (ORDER BY uid DESC ROWS UNBOUNDED PRECEDING) - octet_length(body) AS before_it
      FROM newest) AS summed
 WHERE before_it < $5::int
 ORDER BY uid DESC
"""
_OF_ONE_TYPE = _PAGE.format(newest=_NEWEST.format(event_type="$6"))
_OF_ALL_TYPES = _PAGE.format(
    newest=_OF_EACH.format(
        types=walk_types("events", ["organization_id = $1", "uid >= $6", "uid <= $7"]),
        newest=_NEWEST.format(event_type="each.event_type"),
    )
)

# Each half uses its own index; an event that refers to the message in both ways appears once.
_ABOUT: Final = """
    (SELECT uid, body FROM events WHERE organization_id = $1 AND message_id = $2 ORDER BY uid LIMIT $3::int)
     UNION
    (SELECT uid, body FROM events WHERE organization_id = $1 AND reply_to_id = $2 ORDER BY uid LIMIT $3::int)"""

_ANY_FIRST: Final = UUID(int=0)
_ANY_LAST: Final = UUID(int=2**128 - 1)


class EventReader:
    """Implements ``EventDesk``; only reads."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def list(
        self, wanted: EventFilter, *, limit: int, before: UUID | None = None
    ) -> tuple[Sequence[EventView], UUID | None]:
        """Events, newest first, and the uid to continue from (None at the end)."""
        first = first_uid_from(wanted.since) if wanted.since is not None else _ANY_FIRST
        until = first_uid_from(wanted.until) if wanted.until is not None else None
        last = min((_one_less(each) for each in (before, until) if each is not None), default=_ANY_LAST)
        more: Sequence[object] = [wanted.event_type] if wanted.event_type else [day_of(first)[0], day_of(last)[1]]
        statement = _OF_ONE_TYPE if wanted.event_type else _OF_ALL_TYPES
        async with driver(self._engine) as connection, connection.transaction(readonly=True):
            await connection.execute(IN_INDEX_ORDER)
            rows = await connection.fetch(
                statement, wanted.organization_id, first, last, limit + 1, PAGE_BYTES_MAX, *more
            )
        found = [EventView(row["uid"], row["body"]) for row in rows[:limit]]
        has_more = bool(rows) and len(found) < rows[0]["count"]
        return found, found[-1].uid if has_more else None

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


def _one_less(uid: UUID) -> UUID:
    return UUID(int=max(0, uid.int - 1))
