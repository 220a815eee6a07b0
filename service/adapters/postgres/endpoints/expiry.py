"""Endpoints that expire: ended one organization at a time, as its other changes are."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.endpoints.removal import cancel_pending, remove_subscriptions
from service.adapters.postgres.endpoints.urls import forms_of
from service.adapters.postgres.endpoints.version import lock_directory
from service.adapters.postgres.engine import driver
from service.adapters.postgres.events.announcements import announce
from service.core.audit.actor import POSTHORN
from service.core.endpoints.expiry import WARN_BEFORE, Expiry
from service.core.endpoints.view import EndpointState, RemovalReason
from service.core.reason import Reason
from service.ports.expiry import Warned
from service.ports.secrets import SecretBox

# Both use endpoints_by_expiry, which holds only endpoints that have an end.
OVER: Final = """SELECT organization_id, id FROM endpoints WHERE removed_at IS NULL AND valid_until <= now()
                    AND organization_id <> ALL ($2) ORDER BY valid_until, id LIMIT $1"""
COMING: Final = """
SELECT e.organization_id, e.id, e.valid_until,
       ARRAY(SELECT event_type FROM subscriptions s WHERE s.endpoint_id = e.id AND s.removed_at IS NULL) AS patterns
  FROM endpoints e
 WHERE e.removed_at IS NULL AND (e.valid_until, e.id) > ($1, $2::text)
   AND e.valid_until > now() AND e.valid_until <= now() + $3::interval
 ORDER BY e.valid_until, e.id LIMIT $4"""
_ENDING: Final = """
SELECT e.organization_id, e.id, e.valid_until, array_agg(s.event_type ORDER BY s.id) AS patterns,
       array_agg(s.id ORDER BY s.id) AS subscription_ids
  FROM endpoints e JOIN subscriptions s ON s.endpoint_id = e.id AND s.removed_at IS NULL
 WHERE e.id = ANY ($1) AND e.removed_at IS NULL AND e.valid_until <= now()
 GROUP BY e.id ORDER BY e.id"""


class PostgresExpiryStore:
    """Implements ``ExpiryStore``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def over(self, limit: int, resting: Collection[str]) -> Mapping[str, Sequence[str]]:
        """At most ``limit`` of those whose ``valid_until`` has come, by organization."""
        async with driver(self._engine) as connection:
            rows = sorted(
                (owner, endpoint_id) for owner, endpoint_id in await connection.fetch(OVER, limit, [*resting])
            )
        return {owner: [endpoint_id for _, endpoint_id in mine] for owner, mine in groupby(rows, key=itemgetter(0))}

    async def end(self, organization_id: str, endpoint_ids: Sequence[str]) -> Sequence[Expiry]:
        """End those of these endpoints of an organization that have expired."""
        async with driver(self._engine) as connection, connection.transaction():
            await lock_directory(connection, organization_id)
            return await _end(connection, endpoint_ids)

    async def warn(self, after: Warned | None, limit: int) -> tuple[int, Warned]:
        """Announce at most ``limit`` of those that expire within ``WARN_BEFORE`` from now, each once."""
        async with driver(self._engine) as connection, connection.transaction():
            now: datetime = await connection.fetchval("SELECT now()")
            rows = await connection.fetch(COMING, *(after or (now, "")), WARN_BEFORE, limit)
            found = [Expiry(*row) for row in rows]
            warnings = [each.warning(now) for each in found]
            await announce(connection, [each for each in warnings if each is not None])
        is_full = len(found) == limit
        return len(found), (found[-1].valid_until, found[-1].endpoint_id) if is_full else (now + WARN_BEFORE, "")


async def free_url(connection: asyncpg.Connection, secret_box: SecretBox, organization_id: str, url: str) -> None:
    """End the endpoint with this URL if it has expired, so that the URL can be registered anew.

    The caller has locked the directory. Raises ``UrlKeyUnopenableError``.
    """
    rows = await connection.fetch(
        """SELECT id FROM endpoints WHERE organization_id = $1 AND url = ANY ($2) AND removed_at IS NULL
              AND valid_until <= now()""",
        organization_id,
        await forms_of(connection, secret_box, organization_id, url),
    )
    if rows:
        await _end(connection, [row["id"] for row in rows])


async def _end(connection: asyncpg.Connection, endpoint_ids: Sequence[str]) -> Sequence[Expiry]:
    """End those of these endpoints, all of one organization, that have expired. The caller has locked the directory."""
    rows = await connection.fetch(_ENDING, endpoint_ids)
    if not rows:
        return ()
    now: datetime = await connection.fetchval("SELECT now()")
    ended = [Expiry(*row[:4]) for row in rows]
    subscription_ids = [number for row in rows for number in row["subscription_ids"]]
    removed = await remove_subscriptions(connection, subscription_ids, because=RemovalReason.EXPIRED)
    await cancel_pending(connection, removed, Reason.ENDPOINT_EXPIRED)
    for each in ended:
        state = {"state": EndpointState.EXPIRED, "valid_until": each.valid_until}
        await audit(connection, POSTHORN, "endpoint.expire", each.organization_id, each.endpoint_id, after=state)
    events = [each.end(now) for each in ended]
    await announce(connection, [each for each in events if each is not None])
    return ended
