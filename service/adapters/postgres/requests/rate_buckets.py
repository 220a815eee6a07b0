"""Rate limits: one row for each bucket, on the database's clock, which all processes share."""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver
from service.core.budget import ROUNDING, Budget
from service.ports.requests import Taken

# $1 the bucket, $2 how many requests it holds, $3 how many it gets back a second, $4 the key that asks, $5 ROUNDING.
# This is ``Budget.eased``, ``fits`` and ``after_one`` in one statement: one short row lock, and no race between reading
# and counting. The table is UNLOGGED, so the commit does not wait for the disk, except once a minute when the key's row
# is updated.
_TAKE: Final = """
WITH noted AS (
    UPDATE api_keys SET last_used_at = now()
     WHERE id = $4 AND coalesce(last_used_at < now() - interval '1 minute', true))
INSERT INTO rate_buckets AS b (bucket, used, is_refused, measured_at) VALUES ($1, 1, false, now())
ON CONFLICT (bucket) DO UPDATE
   SET (used, is_refused, measured_at) = (
       SELECT CASE WHEN eased.used + 1 <= $2::float8 + $5::float8 THEN eased.used + 1 ELSE least(eased.used, $2) END,
              eased.used + 1 > $2 + $5,
              greatest(b.measured_at, now())
         FROM (SELECT greatest(0, b.used - $3::float8 * greatest(0, extract(epoch FROM now() - b.measured_at))) AS used)
              AS eased)
RETURNING used, is_refused, measured_at
"""


class RateBucketStore:
    """Counts requests by bucket."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def take(self, bucket: str, budget: Budget, key_id: str) -> Taken:
        """Ask for one request; a refused one is not counted.

        About once a minute it also records that the key was used. May raise ``UnavailableError``.
        """
        async with driver(self._engine) as connection:
            row = await connection.fetchrow(_TAKE, bucket, float(budget.requests), budget.per_second, key_id, ROUNDING)
        return Taken(*row)
