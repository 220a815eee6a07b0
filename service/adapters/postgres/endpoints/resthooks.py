"""Resthooks, their subscribers and their events, as ``/api/v2`` lists them: paged by keyset.

A keyset names the row next to which a page starts.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.both_ways import both_ways
from service.adapters.postgres.deliveries.list import OF_EACH_TYPE
from service.adapters.postgres.endpoints.urls import shown_url
from service.adapters.postgres.engine import driver
from service.core.endpoints.view import Resthook, ResthookEvent, Subscriber
from service.core.events.registry import BUILT_IN
from service.core.walk import Walk
from service.ports.secrets import SecretBox

EVENTS_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bodies are left out once those before have this size: 250 large events would be 64 MB."""


# Each type's subscriptions are found by subscriptions_by_type. Own types never have the name of a built-in one.
_RESTHOOKS: Final = both_ways(
    """WITH resthooks AS (
           SELECT t.slug COLLATE "C" AS slug, t.created_at, greatest(t.created_at, s.changed_at) AS modified_at
             FROM (SELECT slug, o.created_at FROM organizations o, unnest($2::text[]) AS slug
                    WHERE o.id = $1
                    UNION ALL
                   SELECT name, created_at FROM event_types WHERE organization_id = $1) AS t
             LEFT JOIN LATERAL (
                   SELECT greatest(max(created_at), max(removed_at)) AS changed_at FROM subscriptions
                    WHERE organization_id = $1 AND event_type = t.slug) AS s ON true)
       SELECT slug, modified_at, created_at FROM resthooks
        WHERE $3::timestamptz IS NULL OR (modified_at, slug) < ($3, $4)
        ORDER BY modified_at DESC, slug DESC LIMIT $5"""
)

# Uses subscriptions_listed; for one resthook, subscriptions_active; by id, the primary key.
_SUBSCRIBERS: Final = both_ways(
    """SELECT id, event_type, endpoint_id, target_url, created_at,
              (SELECT sealed_url FROM endpoints e WHERE e.id = s.endpoint_id) AS sealed_url
         FROM subscriptions s
        WHERE organization_id = $1 AND removed_at IS NULL
          AND ($2::bigint IS NULL OR id = $2) AND ($3::text IS NULL OR event_type = $3)
          AND ($4::timestamptz IS NULL OR (created_at, id) < ($4, $5))
          AND coalesce((SELECT valid_until FROM endpoints e WHERE e.id = s.endpoint_id) > now(), true)
        ORDER BY created_at DESC, id DESC LIMIT $6"""
)

# events_by_type gives the events of one type in order of uid; several types are merged from one page of each.
# The bodies are read last, only for the events of the page, and only up to $5 bytes.
_EVENTS: Final = both_ways(
    """WITH page AS (
           SELECT e.uid FROM unnest($2::text[]) AS each (event_type) CROSS JOIN LATERAL (
               SELECT uid FROM events
                WHERE organization_id = $1 AND OF_EACH_TYPE AND ($3::uuid IS NULL OR (uid) < ($3))
                ORDER BY uid DESC LIMIT $4) AS e
            ORDER BY e.uid DESC LIMIT $4)
       SELECT uid, event_type, CASE WHEN coalesce(bytes_before, 0) < $5 THEN body END
         FROM (SELECT e.uid, e.event_type, e.body, sum(octet_length(e.body)) OVER (
                          ORDER BY e.uid DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
                 FROM page JOIN events e ON e.uid = page.uid AND e.organization_id = $1) AS found
        ORDER BY uid DESC""".replace("OF_EACH_TYPE", OF_EACH_TYPE)
)


class ResthookReader:
    """What RapidPro calls resthooks, for one organization at a time. Every verb may raise ``UnavailableError``."""

    def __init__(self, engine: AsyncEngine, secret_box: SecretBox) -> None:
        self._engine = engine
        self._secret_box = secret_box

    async def list_resthooks(self, organization_id: str, walk: Walk[tuple[datetime, str]]) -> Sequence[Resthook]:
        """Built-in and own types, by (modified_at, slug)."""
        beside = walk.beside or (None, None)
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                _RESTHOOKS[walk.is_descending], organization_id, list(BUILT_IN), *beside, walk.limit
            )
        return [Resthook(*row) for row in rows]

    async def list_subscribers(
        self,
        organization_id: str,
        walk: Walk[tuple[datetime, int]],
        *,
        subscriber_id: int | None = None,
        resthook: str | None = None,
    ) -> Sequence[Subscriber]:
        """Active subscriptions, by (created_at, id); only that id or that resthook, if given."""
        beside = walk.beside or (None, None)
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                _SUBSCRIBERS[walk.is_descending], organization_id, subscriber_id, resthook, *beside, walk.limit
            )
        return [
            Subscriber(row["id"], row["event_type"], self._url(organization_id, row), row["created_at"]) for row in rows
        ]

    def _url(self, organization_id: str, row: asyncpg.Record) -> str:
        return shown_url(self._secret_box, organization_id, row["endpoint_id"], row["target_url"], row["sealed_url"])

    async def list_events(
        self, organization_id: str, walk: Walk[UUID], *, resthook: str | None = None
    ) -> Sequence[ResthookEvent]:
        """Events, by uid; only of that resthook, if given."""
        async with driver(self._engine) as connection:
            slugs = [resthook] if resthook is not None else await self._slugs(connection, organization_id)
            rows = await connection.fetch(
                _EVENTS[walk.is_descending], organization_id, slugs, walk.beside, walk.limit, EVENTS_BYTES_MAX
            )
        return [ResthookEvent(*row) for row in rows]

    async def _slugs(self, connection: asyncpg.Connection, organization_id: str) -> list[str]:
        own = await connection.fetch("SELECT name FROM event_types WHERE organization_id = $1", organization_id)
        return [*BUILT_IN, *(row["name"] for row in own)]
