"""How many requests of this hour are used: fixed windows of one hour, one row each, on the database's clock."""

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver
from service.ports.requests import RateWindow


class RateWindowStore:
    """Counts requests by bucket. A window begins with its first request, so not all of them end at once."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def count(self, bucket: str, limit: int, key_id: str) -> RateWindow:
        """Count one request; ``used`` stands still at ``limit + 1``, whatever is refused.

        In passing, about once a minute, it notes that the key was used. May raise ``UnavailableError``.
        """
        async with driver(self._engine) as connection:
            # One statement, so one short row lock, and no race between looking and counting. The table is not logged,
            # so its commit waits for no disk, but for the one in a minute that touches the key.
            row = await connection.fetchrow(
                """WITH noted AS (
                       UPDATE api_keys SET last_used_at = now()
                        WHERE id = $3 AND coalesce(last_used_at < now() - interval '1 minute', true))
                   INSERT INTO rate_windows AS w (bucket, starts_at, used) VALUES ($1, now(), 1)
                   ON CONFLICT (bucket) DO UPDATE
                      SET used = CASE WHEN w.starts_at > now() - interval '1 hour' THEN least(w.used, $2) + 1
                                      ELSE 1 END,
                          starts_at = CASE WHEN w.starts_at > now() - interval '1 hour' THEN w.starts_at
                                           ELSE now() END
                   RETURNING used, starts_at + interval '1 hour',
                             extract(epoch FROM starts_at + interval '1 hour' - now())::float8""",
                bucket,
                limit,
                key_id,
            )
        return RateWindow(*row)
