"""Sessions of the pages: a digest of each token, never the token itself."""

from datetime import datetime, timedelta
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.engine import driver
from service.core.audit.actor import Actor
from service.core.session import IDLE_MAX, LINK_MAX, Guest, NewToken, Session

KEPT_MAX: Final = 1_000
"""Sessions of one organization, and links: the oldest make room."""

# The key as it is now: that one was revoked or has expired shows with the next request.
_HAS_KEY: Final = """(s.key_id IS NULL OR EXISTS (SELECT FROM api_keys AS k WHERE k.id = s.key_id
    AND k.revoked_at IS NULL AND coalesce(k.expires_at > now(), true)))"""
_IS_OPEN: Final = f"s.ends_at > now() AND s.used_at > now() - $2::interval AND {_HAS_KEY}"

# ``used_at`` is moved once a minute, not with every request.
_FIND: Final = f"""
WITH moved AS (
    UPDATE web_sessions AS s SET used_at = now()
     WHERE s.digest = $1 AND s.used_at < now() - interval '1 minute' AND {_IS_OPEN})
SELECT s.organization_id, s.scopes, s.key_id, s.made_by, s.is_by_link, coalesce(k.name, '') AS name, s.ends_at,
       k.expires_at, k.rate_limit_per_hour, k.counted_as, coalesce(k.hint, '') AS key_hint
  FROM web_sessions AS s LEFT JOIN api_keys AS k ON k.id = s.key_id
 WHERE s.digest = $1 AND {_IS_OPEN}
"""  # noqa: S608 - constants only

_OPEN: Final = """
INSERT INTO web_sessions (digest, organization_id, scopes, key_id, made_by, is_by_link, ends_at)
VALUES ($1, $2, $3, $4, $5, $6, now() + $7::interval)
"""

_MAKE_LINK: Final = """
INSERT INTO web_links (digest, organization_id, scopes, key_id, made_by, lasts, ends_at)
VALUES ($1, $2, $3, $4, $5, $6, now() + $7::interval) RETURNING ends_at
"""

_FOLLOW: Final = f"""
DELETE FROM web_links AS s WHERE s.digest = $1
RETURNING s.organization_id, s.scopes, s.key_id, s.made_by, s.lasts, s.ends_at > now() AND {_HAS_KEY} AS is_good
"""  # noqa: S608 - constants only

_MAKE_ROOM: Final = """
DELETE FROM {table} WHERE digest IN (
    SELECT digest FROM (SELECT digest, row_number() OVER (ORDER BY ends_at DESC, digest) AS place, ends_at
                          FROM {table} WHERE organization_id IS NOT DISTINCT FROM $1) AS known
     WHERE place >= $2 OR ends_at < now())
"""


class SessionStore:
    """The sessions. Nothing is cached, so one that was ended is refused from the next request on."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def open(self, token: NewToken, guest: Guest, lasts: timedelta) -> None:
        """Begin a session that lasts no longer than this."""
        async with driver(self._engine) as connection, connection.transaction():
            await _open(connection, token, guest, lasts)

    async def find(self, digest: bytes) -> Session | None:
        """The session, which is in use from now on; None if it has ended, or the key it depends on."""
        async with driver(self._engine) as connection:
            row = await connection.fetchrow(_FIND, digest, IDLE_MAX)
        if row is None:
            return None
        organization_id, scopes, key_id, made_by, is_by_link, *of_key = row
        return Session(digest, Guest(organization_id, frozenset(scopes), key_id, made_by, is_by_link), *of_key)

    async def close(self, digest: bytes) -> None:
        """End a session. Repeating this changes nothing."""
        async with driver(self._engine) as connection:
            await connection.execute("DELETE FROM web_sessions WHERE digest = $1", digest)

    async def make_link(self, token: NewToken, guest: Guest, lasts: timedelta, *, by: Actor) -> datetime:
        """Store a link to a session that lasts no longer than this; returns until when it opens one."""
        async with driver(self._engine) as connection, connection.transaction():
            await connection.execute(_MAKE_ROOM.format(table="web_links"), guest.organization_id, KEPT_MAX)
            ends_at: datetime = await connection.fetchval(
                _MAKE_LINK,
                token.digest,
                guest.organization_id,
                sorted(guest.scopes),
                guest.key_id,
                guest.made_by,
                lasts,
                LINK_MAX,
            )
            after = {"scopes": guest.scopes, "lasts_seconds": int(lasts.total_seconds())}
            await audit(
                connection, by, "portal_link.create", guest.organization_id, token.digest.hex()[:16], after=after
            )
        return ends_at

    async def follow(self, link_digest: bytes, token: NewToken) -> Guest | None:
        """Open the link's session, for once; None if it was used, is too old, or its key has ended."""
        async with driver(self._engine) as connection, connection.transaction():
            row = await connection.fetchrow(_FOLLOW, link_digest)
            if row is None or not row["is_good"]:
                return None
            organization_id, scopes, key_id, made_by, lasts, _ = row
            guest = Guest(organization_id, frozenset(scopes), key_id, made_by, is_by_link=True)
            await _open(connection, token, guest, lasts)
        return guest

    async def revoke_made_by_command(self, organization_id: str | None) -> int:
        """End the sessions whose links a command made, and such links; returns how many there were.

        Those of the organization; None: the operator's.
        """
        async with driver(self._engine) as connection, connection.transaction():
            ended = [
                await connection.fetch(
                    f"""DELETE FROM {table} WHERE key_id IS NULL AND organization_id IS NOT DISTINCT FROM $1
                        RETURNING 1""",  # noqa: S608 - constants only
                    organization_id,
                )
                for table in ("web_links", "web_sessions")
            ]
        return sum(map(len, ended))


async def _open(connection: asyncpg.Connection, token: NewToken, guest: Guest, lasts: timedelta) -> None:
    await connection.execute(_MAKE_ROOM.format(table="web_sessions"), guest.organization_id, KEPT_MAX)
    await connection.execute(
        _OPEN,
        token.digest,
        guest.organization_id,
        sorted(guest.scopes),
        guest.key_id,
        guest.made_by,
        guest.is_by_link,
        lasts,
    )
