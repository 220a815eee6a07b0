"""Stored API keys: a digest of each, never the key itself."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.both_ways import both_ways
from service.adapters.postgres.endpoints.version import lock_directory
from service.adapters.postgres.engine import driver
from service.core.audit.actor import Actor
from service.core.audit.entry import State
from service.core.keys.api_key import ListedKey, NewKey, StoredKey
from service.core.keys.grant import KEYS_MAX, KeyEnded, KeyReplaced, KeyWish, TooManyKeys
from service.core.walk import Walk
from service.ports.desk import TimeKeyset
from service.ports.requests import ExpiringKey

ENDED_KEPT = timedelta(days=90)
"""How long a key that was revoked or has expired stays listed, if it is one of the last ``KEYS_MAX`` that ended."""

_FOUND = """SELECT id, organization_id, digest, scopes, expires_at, revoked_at, name, rate_limit_per_hour, counted_as
              FROM api_keys WHERE id = $1"""
_LISTED = """id, name, scopes, rate_limit_per_hour, created_at, last_used_at, expires_at, revoked_at, hint,
             replaced_by"""
_IS_VALID = "revoked_at IS NULL AND coalesce(expires_at > now(), true)"
_LIST = both_ways(
    """
 WHERE organization_id = $1 AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3))
 ORDER BY created_at DESC, id DESC LIMIT $4""",
    head=f"SELECT {_LISTED} FROM api_keys",  # noqa: S608 - constants only
)


class KeyStore:
    """The issued keys. Nothing is cached, so a revoked key is refused from the next request on."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    # ------------------------------------------------------------------ reading

    async def find(self, key_id: str) -> StoredKey | None:
        """The key with this id, of any organization, even if expired or revoked."""
        async with driver(self._engine) as connection:
            row = await connection.fetchrow(_FOUND, key_id)
        return _stored(row) if row is not None else None

    async def recent(self, count_max: int) -> Mapping[str, bytes]:
        """The digests, by key id, of the valid keys that were made or used last."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                f"""SELECT id, digest FROM api_keys WHERE {_IS_VALID}
                    ORDER BY greatest(created_at, last_used_at) DESC LIMIT $1""",  # noqa: S608 - constants only
                count_max,
            )
        return {row["id"]: row["digest"] for row in rows}

    async def expiring(self, within: timedelta, named_max: int) -> tuple[int, Sequence[ExpiringKey]]:
        """How many valid keys that none has followed expire within that time, and the first of them."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                f"""SELECT organization_id, id, expires_at, last_used_at, count(*) OVER () AS expiring_count
                      FROM api_keys WHERE {_IS_VALID} AND expires_at <= now() + $1::interval AND replaced_by IS NULL
                     ORDER BY expires_at, id LIMIT $2""",  # noqa: S608 - constants only
                within,
                named_max,
            )
        return (rows[0]["expiring_count"] if rows else 0), [ExpiringKey(*[*row][:-1]) for row in rows]

    async def list_keys(self, organization_id: str) -> Sequence[ListedKey]:
        """The organization's keys, oldest first, including ended ones."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                f"SELECT {_LISTED} FROM api_keys WHERE organization_id = $1 ORDER BY created_at, id",  # noqa: S608
                organization_id,
            )
        return list(map(_listed, rows))

    async def page(self, organization_id: str, walk: Walk[TimeKeyset]) -> Sequence[ListedKey]:
        """The organization's keys, by (created_at, id), including ended ones."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                _LIST[walk.is_descending], organization_id, *(walk.beside or (None, None)), walk.limit
            )
        return list(map(_listed, rows))

    async def show(self, organization_id: str, key_id: str) -> ListedKey | None:
        """The organization's key with this id; None if it does not exist."""
        async with driver(self._engine) as connection:
            row = await connection.fetchrow(
                f"SELECT {_LISTED} FROM api_keys WHERE organization_id = $1 AND id = $2",  # noqa: S608
                organization_id,
                key_id,
            )
        return _listed(row) if row is not None else None

    # ------------------------------------------------------------------ changing

    async def create_key(
        self, organization_id: str, new: NewKey, wish: KeyWish, *, by: Actor
    ) -> ListedKey | TooManyKeys:
        """Store a key's digest; the organization must exist. What ended long ago, or before many others, goes."""
        async with driver(self._engine) as connection, connection.transaction():
            if not await _has_room(connection, organization_id):
                return TooManyKeys()
            made = await _insert(connection, organization_id, new, wish)
            await audit(connection, by, "key.create", organization_id, made.key_id, after=_state(made))
            return made

    async def rotate(
        self,
        organization_id: str,
        key_id: str,
        new: NewKey,
        *,
        overlap: timedelta,
        expires_in: timedelta | None,
        by: Actor,
    ) -> tuple[ListedKey, datetime] | KeyReplaced | KeyEnded | TooManyKeys | None:
        """Make ``new`` follow a key, which is valid for ``overlap`` longer, or less if it expires before.

        Returns the new key and when the old one ends; None if there is no such key. With ``expires_in`` None the new
        key expires when the old one would have.
        """
        async with driver(self._engine) as connection, connection.transaction():
            has_room = await _has_room(connection, organization_id)
            standing = await connection.fetchrow(
                f"""SELECT replaced_by, {_IS_VALID} AS is_valid FROM api_keys
                     WHERE id = $1 AND organization_id = $2 FOR UPDATE""",  # noqa: S608 - constants only
                key_id,
                organization_id,
            )
            if standing is None:
                return None
            if standing["replaced_by"] is not None:
                return KeyReplaced(standing["replaced_by"])
            if not standing["is_valid"]:
                return KeyEnded()
            if overlap and not has_room:  # without an overlap there are as many as before
                return TooManyKeys()
            old = _stored(await connection.fetchrow(_FOUND, key_id))
            counted_as = old.counted_as or old.key_id
            wish = KeyWish(old.scopes, old.name, expires_in, old.rate_limit_per_hour, counted_as)
            made = await _insert(connection, organization_id, new, wish, old.expires_at)
            # Without an overlap it is revoked: an expiry is compared with each process's own clock.
            ends_at: datetime = await connection.fetchval(
                """UPDATE api_keys
                      SET replaced_by = $2, expires_at = least(expires_at, now() + $3::interval),
                          revoked_at = CASE WHEN $3::interval = '0' THEN now() END
                    WHERE id = $1 RETURNING expires_at""",
                key_id,
                new.key_id,
                overlap,
            )
            states = (
                {"expires_at": old.expires_at, "replaced_by": None},
                {"expires_at": ends_at, "replaced_by": new.key_id},
            )
            await audit(connection, by, "key.rotate", organization_id, key_id, *states)
            await audit(connection, by, "key.create", organization_id, made.key_id, after=_state(made))
            return made, ends_at

    async def revoke(self, key_id: str, organization_id: str | None = None, *, by: Actor) -> datetime | None:
        """Revoke a key at once; returns when it was first revoked.

        None if it does not exist, or does not belong to the organization, if one is given.
        """
        async with driver(self._engine) as connection, connection.transaction():
            known = await connection.fetchrow(
                """SELECT organization_id, revoked_at FROM api_keys
                    WHERE id = $1 AND ($2::text IS NULL OR organization_id = $2) FOR NO KEY UPDATE""",
                key_id,
                organization_id,
            )
            if known is None:
                return None
            revoked_at: datetime = await connection.fetchval(
                "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING revoked_at",
                key_id,
            )
            states = {"revoked_at": known["revoked_at"]}, {"revoked_at": revoked_at}
            await audit(connection, by, "key.revoke", known["organization_id"], key_id, *states)
        return revoked_at


async def _has_room(connection: asyncpg.Connection, organization_id: str) -> bool:
    """Whether the organization may have another key; its lock, held until the commit, keeps the answer true.

    Deletes what ended too long ago, or before too many others, so that nobody fills the table by making and revoking.
    """
    await lock_directory(connection, organization_id)
    await connection.execute(
        f"""DELETE FROM api_keys WHERE id IN (
                SELECT id FROM (SELECT id, least(revoked_at, expires_at) AS ended_at,
                                       row_number() OVER (ORDER BY least(revoked_at, expires_at) DESC, id) AS place
                                  FROM api_keys WHERE organization_id = $1 AND NOT ({_IS_VALID})) AS ended
                 WHERE ended_at < now() - $2::interval OR place > $3)""",  # noqa: S608 - constants only
        organization_id,
        ENDED_KEPT,
        KEYS_MAX,
    )
    count: int = await connection.fetchval(
        f"SELECT count(*) FROM api_keys WHERE organization_id = $1 AND {_IS_VALID}",  # noqa: S608 - constants only
        organization_id,
    )
    return count < KEYS_MAX


async def _insert(
    connection: asyncpg.Connection,
    organization_id: str,
    new: NewKey,
    wish: KeyWish,
    expires_at: datetime | None = None,
) -> ListedKey:
    """Add the key. It ends at ``expires_at`` unless the wish says when."""
    row = await connection.fetchrow(
        f"""INSERT INTO api_keys (id, organization_id, digest, hint, scopes, name, expires_at, rate_limit_per_hour,
                                  counted_as)
            VALUES ($1, $2, $3, $4, $5, $6, coalesce(now() + $7::interval, $8), $9, $10)
            RETURNING {_LISTED}""",  # noqa: S608 - constants only
        new.key_id,
        organization_id,
        new.digest,
        new.hint,
        sorted(wish.scopes),
        wish.name,
        wish.expires_in,
        expires_at,
        wish.rate_limit_per_hour,
        wish.counted_as,
    )
    return _listed(row)


def _state(key: ListedKey) -> State:
    """What the audit log keeps of a key: nothing of its text."""
    return {name: getattr(key, name) for name in ("name", "scopes", "expires_at", "rate_limit_per_hour")}


def _stored(row: asyncpg.Record) -> StoredKey:
    key_id, organization_id, digest, scopes, *rest = row
    return StoredKey(key_id, organization_id, digest, frozenset(scopes), *rest)


def _listed(row: asyncpg.Record) -> ListedKey:
    key_id, name, scopes, *rest = row
    return ListedKey(key_id, name, tuple(scopes), *rest)
