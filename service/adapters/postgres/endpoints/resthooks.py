"""Resthooks, their subscribers and their events, as ``/api/v2`` shows them: lists by keyset, one row made or removed.

A keyset says beside which row a page lies. Every list is walked in both directions, hence two forms of each statement.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Generic, TypeVar
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.removal import bump_directory, cancel_pending, remove_subscriptions
from service.adapters.postgres.endpoints.rows import find_or_insert_endpoint, open_secrets
from service.adapters.postgres.engine import driver
from service.core.reason import Reason
from service.ports.secrets import SecretBox

EVENTS_BYTES_MAX: Final = 8 * 1024 * 1024
"""When the bodies of a list come to this, it ends with the next one: 250 large events would be 64 MB."""

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Resthook:
    """An event type that can be subscribed to. ``modified_at`` is when a subscriber last came or went."""

    slug: str
    modified_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Subscriber:
    """An active subscription. ``secret`` is told once: when making it made its endpoint."""

    id: int
    resthook: str
    target_url: str
    created_at: datetime
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event; ``uid`` is a UUIDv7, and ``body`` the envelope, as it is delivered.

    ``body`` is None when those before it in the walk have ``EVENTS_BYTES_MAX`` already.
    """

    uid: UUID
    resthook: str
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Walk(Generic[Key]):
    """A part of a list: from beside a key (None: from an end), in one direction, at most so many rows."""

    beside: Key | None
    is_descending: bool
    limit: int


class AlreadySubscribedError(Exception):
    """The URL has an active subscription to this event type."""


class OtherSecretError(Exception):
    """The URL has an endpoint, which signs with another secret than the one that was given."""


def _both_ways(descending: str) -> dict[bool, str]:
    """A statement by whether it walks downwards."""
    return {True: descending, False: descending.replace(" DESC", " ASC").replace(" < (", " > (")}


# Each type's subscriptions are looked up by subscriptions_by_type. Own types never carry a built-in's name.
_RESTHOOKS: Final = _both_ways(
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

# Walks subscriptions_listed; of one resthook, subscriptions_active; by id, the primary key.
_SUBSCRIBERS: Final = _both_ways(
    """SELECT id, event_type, target_url, created_at FROM subscriptions
        WHERE organization_id = $1 AND removed_at IS NULL
          AND ($2::bigint IS NULL OR id = $2) AND ($3::text IS NULL OR event_type = $3)
          AND ($4::timestamptz IS NULL OR (created_at, id) < ($4, $5))
        ORDER BY created_at DESC, id DESC LIMIT $6"""
)

# events_by_type gives the events of one type in order of uid; those of several types are merged from a page of each.
# The bodies are read last, for the events of the page alone, and no more of them than memory has room for.
_EVENTS: Final = _both_ways(
    """WITH page AS (
           SELECT e.uid FROM unnest($2::text[]) AS slug CROSS JOIN LATERAL (
               SELECT uid FROM events
                WHERE organization_id = $1 AND event_type = slug AND ($3::uuid IS NULL OR (uid) < ($3))
                ORDER BY uid DESC LIMIT $4) AS e
            ORDER BY e.uid DESC LIMIT $4)
       SELECT uid, event_type, CASE WHEN coalesce(bytes_before, 0) < $5 THEN body END
         FROM (SELECT e.uid, e.event_type, e.body, sum(octet_length(e.body)) OVER (
                          ORDER BY e.uid DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
                 FROM page JOIN events e ON e.uid = page.uid AND e.organization_id = $1) AS found
        ORDER BY uid DESC"""
)


class ResthookStore:
    """What RapidPro calls resthooks, of one organization at a time. Every verb may raise ``UnavailableError``."""

    def __init__(self, engine: AsyncEngine, secret_box: SecretBox, built_in: Sequence[str]) -> None:
        """``built_in`` are the event types that every organization has."""
        self._engine = engine
        self._secret_box = secret_box
        self._built_in = list(built_in)

    async def list_resthooks(self, organization_id: str, walk: Walk[tuple[datetime, str]]) -> Sequence[Resthook]:
        """Built-in and own types, by (modified_at, slug)."""
        beside = walk.beside or (None, None)
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                _RESTHOOKS[walk.is_descending], organization_id, self._built_in, *beside, walk.limit
            )
        return [Resthook(*row) for row in rows]

    async def has_resthook(self, organization_id: str, slug: str) -> bool:
        """Whether there is such a type."""
        if slug in self._built_in:
            return True
        async with driver(self._engine) as connection:
            return bool(
                await connection.fetchval(
                    "SELECT true FROM event_types WHERE organization_id = $1 AND name = $2", organization_id, slug
                )
            )

    async def list_subscribers(
        self,
        organization_id: str,
        walk: Walk[tuple[datetime, int]],
        *,
        subscriber_id: int | None = None,
        resthook: str | None = None,
    ) -> Sequence[Subscriber]:
        """Active subscriptions, by (created_at, id); of one id or one resthook, when given."""
        beside = walk.beside or (None, None)
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                _SUBSCRIBERS[walk.is_descending], organization_id, subscriber_id, resthook, *beside, walk.limit
            )
        return [Subscriber(*row) for row in rows]

    async def list_events(
        self, organization_id: str, walk: Walk[UUID], *, resthook: str | None = None
    ) -> Sequence[RecordedEvent]:
        """Events, by uid; of one resthook, when given."""
        async with driver(self._engine) as connection:
            slugs = [resthook] if resthook is not None else await self._slugs(connection, organization_id)
            rows = await connection.fetch(
                _EVENTS[walk.is_descending], organization_id, slugs, walk.beside, walk.limit, EVENTS_BYTES_MAX
            )
        return [RecordedEvent(*row) for row in rows]

    async def _slugs(self, connection: asyncpg.Connection, organization_id: str) -> list[str]:
        own = await connection.fetch("SELECT name FROM event_types WHERE organization_id = $1", organization_id)
        return [*self._built_in, *(row["name"] for row in own)]

    async def subscribe(self, organization_id: str, resthook: str, url: str, secret: str | None) -> Subscriber:
        """Subscribe a URL, through the organization's endpoint of that URL, made if there is none.

        Raises ``AlreadySubscribedError`` and ``OtherSecretError``; nothing has changed then.
        """
        async with driver(self._engine) as connection, connection.transaction():
            await bump_directory(connection, [organization_id])
            endpoint_id, shown = await find_or_insert_endpoint(
                connection, self._secret_box, organization_id, url, secret
            )
            row = await connection.fetchrow(
                """INSERT INTO subscriptions (organization_id, endpoint_id, event_type, target_url)
                   VALUES ($1, $2, $3, $4)
                       ON CONFLICT (organization_id, event_type, target_url) WHERE removed_at IS NULL DO NOTHING
                   RETURNING id, event_type, target_url, created_at""",
                organization_id,
                endpoint_id,
                resthook,
                url,
            )
            if row is None:
                raise AlreadySubscribedError
            if secret is not None and shown is None:
                await self._require_secret(connection, organization_id, endpoint_id, secret)
        return replace(Subscriber(*row), secret=shown)

    async def _require_secret(
        self, connection: asyncpg.Connection, organization_id: str, endpoint_id: str, secret: str
    ) -> None:
        """Raise ``OtherSecretError`` unless the endpoint signs with ``secret``: it must not be dropped in silence."""
        known = await open_secrets(connection, self._secret_box, organization_id, endpoint_id)
        if not any(each and hmac.compare_digest(each.encode(), secret.encode()) for each in known):
            raise OtherSecretError

    async def unsubscribe(self, organization_id: str, subscriber_id: int) -> bool:
        """End a subscription, its endpoint with the last one, and cancel what waits. False when there is none."""
        async with driver(self._engine) as connection, connection.transaction():
            found = await connection.fetchval(
                "SELECT id FROM subscriptions WHERE organization_id = $1 AND id = $2 AND removed_at IS NULL",
                organization_id,
                subscriber_id,
            )
            if found is None:
                return False
            removed = await remove_subscriptions(connection, [found], because="deleted")
            await cancel_pending(connection, removed, Reason.SUBSCRIPTION_DELETED)
        return bool(removed)
