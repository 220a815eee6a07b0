"""The health of endpoints, read from a bounded number of their deliveries, all found by index.

Final deliveries are read type by type, newest event first, which is the order of their index. The number of rows is
bounded for each type, so a query does not cost more because an endpoint is busy.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries.list import IN_INDEX_ORDER
from service.adapters.postgres.engine import driver
from service.adapters.postgres.partitions import horizon
from service.core.endpoints.health import Health, Percentiles, Stats
from service.core.events.registry import BUILT_IN
from service.core.events.uid import first_uid_from
from service.core.reason import NOT_THE_RECEIVERS

FINAL_LOOKED_AT_MAX = 5
"""How many final deliveries of each event type, and how many open ones, determine the health of an endpoint."""
STATS_ROWS_MAX = 10_000
STATS_ATTEMPTS_MAX = 500
_NOT_THE_RECEIVERS = ", ".join(f"'{each}'" for each in sorted(NOT_THE_RECEIVERS))

# $1 organization, $2 built-in event types, $3 the first uid to examine, $4 the one after the last
_KNOWN_TYPES = """known AS (
    SELECT unnest($2::text[]) AS event_type UNION SELECT name FROM event_types WHERE organization_id = $1)"""

# The deliveries are found by their endpoint, which belongs to the organization: with a condition on the organization
# too, the planner might scan all of its rows. Two partial indexes hold them; the conditions must match word for word.
# $6 how many final deliveries of each type and half
_ENDED_OF = """(SELECT event_uid, subscription_id, replay_number, event_type, state, reason, last_status AS status,
                 created_at, ended_at AS at
            FROM final_deliveries d
           WHERE d.endpoint_id = wanted.endpoint_id AND d.event_type = known.event_type AND d.event_uid >= $3
             AND d.event_uid < $4 AND d.state {half} ORDER BY d.event_uid DESC LIMIT $6)"""
_NEWEST_ENDED = " UNION ALL ".join(_ENDED_OF.format(half=half) for half in ("= 'delivered'", "<> 'delivered'"))
# $5 endpoints. A failing receiver has few final deliveries, as retries go on for days, so its oldest open deliveries
# count too. Failures that were not the receiver's are left out.
_HEALTH = f"""WITH {_KNOWN_TYPES},
wanted AS (SELECT id AS endpoint_id FROM endpoints WHERE organization_id = $1 AND id = ANY ($5)),
outcomes AS (
    SELECT wanted.endpoint_id, ended.at, ended.state = 'delivered' AS is_success, ended.reason, ended.status
      FROM wanted CROSS JOIN known CROSS JOIN LATERAL ({_NEWEST_ENDED}) AS ended
     WHERE (ended.state <> 'cancelled' OR ended.reason = 'gone')
       AND coalesce(ended.reason NOT IN ({_NOT_THE_RECEIVERS}), true)
     UNION ALL
    SELECT wanted.endpoint_id, failed.at, false, failed.reason, failed.status
      FROM wanted CROSS JOIN LATERAL (
          SELECT event_uid, subscription_id, replay_number, attempts_recorded FROM open_deliveries d
           WHERE d.endpoint_id = wanted.endpoint_id ORDER BY d.event_uid LIMIT $6) AS waiting
     CROSS JOIN LATERAL (
          SELECT a.started_at + a.duration_ms * interval '1 ms' AS at, a.reason, a.status FROM attempts a
           WHERE a.event_uid = waiting.event_uid AND a.subscription_id = waiting.subscription_id
             AND a.replay_number = waiting.replay_number AND a.outcome <> 'accepted'
             AND a.reason NOT IN ({_NOT_THE_RECEIVERS}, 'lost')
           ORDER BY a.number DESC LIMIT 1) AS failed
     WHERE waiting.attempts_recorded > 0),
told AS (SELECT *, max(at) FILTER (WHERE is_success) OVER (PARTITION BY endpoint_id) AS last_success_at FROM outcomes)
SELECT endpoint_id, max(last_success_at) AS last_success_at,
       (array_agg((at, reason::text, status) ORDER BY at DESC) FILTER (WHERE NOT is_success))[1] AS failure,
       count(*) FILTER (WHERE NOT is_success AND at > coalesce(last_success_at, '-infinity')) AS failures_in_a_row
  FROM told GROUP BY endpoint_id"""  # noqa: S608 - constants only

# $5 endpoint, $6 final deliveries of each type, $7 attempts, $8 open deliveries
_STATS = f"""WITH {_KNOWN_TYPES},
wanted AS (SELECT id AS endpoint_id FROM endpoints WHERE organization_id = $1 AND id = $5),
ended AS MATERIALIZED (
    SELECT d.* FROM wanted CROSS JOIN known CROSS JOIN LATERAL ({_NEWEST_ENDED}) AS d),
waiting AS MATERIALIZED (
    SELECT state FROM open_deliveries WHERE organization_id = $1 AND endpoint_id = $5 ORDER BY event_uid LIMIT $8),
measured AS (
    SELECT a.duration_ms FROM (SELECT * FROM ended ORDER BY event_uid DESC LIMIT $7) AS newest
     CROSS JOIN LATERAL (  -- one look into the primary key each, whatever the planner thinks of the table's size
        SELECT duration_ms FROM attempts a WHERE a.event_uid = newest.event_uid
           AND a.subscription_id = newest.subscription_id AND a.replay_number = newest.replay_number
           AND a.event_uid >= $3 AND a.event_uid < $4 OFFSET 0) AS a)
SELECT (SELECT array_agg((state, n)) FROM (
            SELECT state, count(*) AS n FROM ended GROUP BY state
             UNION ALL SELECT state, count(*) FROM waiting GROUP BY state) AS t) AS by_state,
       (SELECT array_agg((reason::text, n)) FROM (
            SELECT reason, count(*) AS n FROM ended WHERE reason IS NOT NULL GROUP BY reason) AS t) AS by_reason,
       (SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
                   ORDER BY date_part('epoch', at - created_at) * 1000)
          FROM ended WHERE state = 'delivered') AS latency,
       (SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_ms) FROM measured) AS duration,
       (SELECT extract(epoch FROM now() - created_at)::float8 FROM open_deliveries
         WHERE organization_id = $1 AND endpoint_id = $5 AND state = 'pending' ORDER BY event_uid LIMIT 1) AS oldest,
       coalesce((SELECT bool_or(n >= $6) FROM (
                     SELECT count(*) AS n FROM ended GROUP BY event_type, state = 'delivered') AS t), false)
           OR (SELECT count(*) >= $8 FROM waiting) AS is_capped"""  # noqa: S608 - constants only


class EndpointHealth:
    """Implements ``HealthDesk``; only reads."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def of(self, organization_id: str, endpoint_ids: Sequence[str], since: datetime) -> Mapping[str, Health]:
        """The health of each endpoint; events received before ``since`` count only while they are being retried."""
        async with self._in_index_order() as connection:
            rows = await connection.fetch(
                _HEALTH,
                organization_id,
                list(BUILT_IN),
                *_uids(since),
                list(endpoint_ids),
                FINAL_LOOKED_AT_MAX,
            )
        found = {}
        for row in rows:
            at, reason, status = row["failure"] or (None, None, None)
            found[row["endpoint_id"]] = Health(row["last_success_at"], at, reason, status, row["failures_in_a_row"])
        return {each: found.get(each, Health()) for each in endpoint_ids}

    async def stats(self, organization_id: str, endpoint_id: str, since: datetime) -> Stats:
        """Counts over the deliveries of events received since ``since``, and over all open deliveries."""
        async with self._in_index_order() as connection:
            row = await connection.fetchrow(
                _STATS,
                organization_id,
                list(BUILT_IN),
                *_uids(since),
                endpoint_id,
                STATS_ROWS_MAX // (2 * len(BUILT_IN)),
                STATS_ATTEMPTS_MAX,
                STATS_ROWS_MAX,
            )
        return Stats(
            by_state=dict(row["by_state"] or ()),
            by_reason=dict(row["by_reason"] or ()),
            latency=Percentiles(*(row["latency"] or ())),
            duration=Percentiles(*(row["duration"] or ())),
            oldest_pending_age_seconds=row["oldest"],
            is_capped=row["is_capped"],
        )

    @asynccontextmanager
    async def _in_index_order(self) -> AsyncIterator[asyncpg.Connection]:
        async with driver(self._engine) as connection, connection.transaction(readonly=True):
            await connection.execute(IN_INDEX_ORDER)
            yield connection


def _uids(since: datetime) -> tuple[UUID, UUID]:
    """The first uid from then on, and one after the last that there can be."""
    return first_uid_from(since), first_uid_from(horizon())
