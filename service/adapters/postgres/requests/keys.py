"""Stored API keys: a digest of each, never the key itself."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver
from service.core.api_key import ListedKey, StoredKey


class KeyStore:
    """The issued keys. Nothing is cached, so a revoked key is refused from the next request on."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create_key(
        self,
        organization_id: str,
        key_id: str,
        digest: bytes,
        scopes: Collection[str],
        *,
        name: str = "",
        expires_in: timedelta | None = None,
        rate_limit_per_hour: int | None = None,
    ) -> None:
        """Store a key's digest; the organization must exist. ``expires_in`` counts from now; None means never."""
        async with driver(self._engine) as connection:
            await connection.execute(
                """INSERT INTO api_keys (id, organization_id, digest, scopes, name, expires_at, rate_limit_per_hour)
                   VALUES ($1, $2, $3, $4, $5, now() + $6::interval, $7)""",
                key_id,
                organization_id,
                digest,
                sorted(scopes),
                name,
                expires_in,
                rate_limit_per_hour,
            )

    async def find(self, key_id: str) -> StoredKey | None:
        """The key with this id, of any organization, even if expired or revoked."""
        async with driver(self._engine) as connection:
            row = await connection.fetchrow(
                """SELECT id, organization_id, digest, scopes, expires_at, revoked_at, name, rate_limit_per_hour
                     FROM api_keys WHERE id = $1""",
                key_id,
            )
        if row is None:
            return None
        key, organization, digest, scopes, *rest = row
        return StoredKey(key, organization, digest, frozenset(scopes), *rest)

    async def list_keys(self, organization_id: str) -> Sequence[ListedKey]:
        """The organization's keys, oldest first, including revoked ones."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                """SELECT id, name, scopes, rate_limit_per_hour, created_at, last_used_at, expires_at, revoked_at
                     FROM api_keys WHERE organization_id = $1 ORDER BY created_at, id""",
                organization_id,
            )
        return [ListedKey(key, name, tuple(scopes), *rest) for key, name, scopes, *rest in rows]

    async def revoke(self, key_id: str) -> datetime | None:
        """Revoke a key at once; returns when it was first revoked, None if it does not exist."""
        async with driver(self._engine) as connection:
            revoked_at: datetime | None = await connection.fetchval(
                "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING revoked_at",
                key_id,
            )
        return revoked_at
