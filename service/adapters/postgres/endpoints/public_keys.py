"""Implements ``PublicKeyDesk``."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver


class PublicKeyReader:
    """Reads public keys, which are stored beside the sealed private ones; opens no secret."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def of(self, endpoint_id: str) -> Sequence[str]:
        """The public keys (``whpk_``) that the endpoint's webhooks verify with now, newest first."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                """SELECT k.public_key FROM endpoint_secrets k JOIN endpoints e ON e.id = k.endpoint_id
                    WHERE k.endpoint_id = $1 AND k.public_key IS NOT NULL AND e.removed_at IS NULL
                      AND coalesce(k.expires_at > now(), true)
                    ORDER BY k.created_at DESC, k.id""",
                endpoint_id,
            )
        return [row["public_key"] for row in rows]
