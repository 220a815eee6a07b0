"""Rate limits: fixed windows of one hour, one row for each bucket, on the database's clock."""

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver
from service.ports.requests import RateWindow


class RateWindowStore:
    """Counts requests by bucket. A window starts with its first request, so that not all windows end at once."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def count(self, bucket: str, limit: int, key_id: str) -> RateWindow:
        """Count one request; ``used`` never exceeds ``limit + 1``.

        About once a minute it also records that the key was used. May raise ``UnavailableError``.
        """
        async with driver(self._engine) as connection:
            # One statement: one short row lock, and no race between reading and counting. The table is UNLOGGED, so the
            # commit does not wait for the disk, except once a minute when the key's row is updated.
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
