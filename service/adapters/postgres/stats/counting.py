"""Ended deliveries are counted into ``delivery_counts``: forward as they end, and back for those from before.

``counts_progress`` has one row, once anything is counted: counted is what ended from ``counted_from`` until before
``counted_until``. Whoever takes a step locks the row, and moves it in the transaction that writes the counts. So each
delivery is counted once, whoever dies and when.
"""

from datetime import UTC, datetime
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver
from service.core.reason import Reason
from service.core.stats.period import WIDTHS, Width
from service.core.stats.times import SLOT_RATIO
from service.ports.counts import CountingStep

LAG_SECONDS: Final = 2.0
"""Nothing younger is counted: room for a transaction that began and is not shown among the running ones yet."""
READER_SECONDS: Final = 120.0
"""A transaction this old that has written nothing counts as a reader, such as a dump, and holds up no counting.

Whoever ends deliveries begins with a statement that writes, and no statement takes a quarter of this."""
BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""``counted_from`` once everything is counted."""
STEP_SECONDS_MAX: Final = 300.0
"""For one step, in which a single statement may have ended any number of deliveries."""

_CAME_AT_MS: Final = "(('x' || translate(left(event_uid::text, 13), '-', ''))::bit(48)::bigint)"
"""SQL: when an event came, in ms: a UUIDv7 starts with it."""
IS_MEASURED: Final = f"(a.status IS NOT NULL OR a.reason = '{Reason.TIMEOUT}')"
"""SQL: whether an attempt says how long its receiver took: it was answered, or not in time."""
SLOT: Final = f"ceil(ln(greatest(a.duration_ms, 1)) / ln({SLOT_RATIO}::float8))::smallint"
"""SQL: the slot of an attempt's duration, as in ``core/stats/times.py``."""

_LOCK: Final = "SELECT counted_from, counted_until FROM counts_progress FOR UPDATE SKIP LOCKED"
_BEGIN: Final = """
INSERT INTO counts_progress DEFAULT VALUES ON CONFLICT DO NOTHING RETURNING counted_from, counted_until
"""
# Without the index on every day each step would read whole days: an upgrade makes it after the schema.
_IS_INDEXED: Final = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'final_deliveries_by_end'::regclass"

# $1 the lag. A delivery ends with the time at which its transaction began. So whatever is still to be committed began
# no earlier than the oldest transaction that is running; one that ended meanwhile is seen by the next statement.
_LIMIT: Final = f"""
SELECT least(now() - $1 * interval '1 second', (
           SELECT min(xact_start) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
              AND query NOT ILIKE 'vacuum%'
              AND (backend_xid IS NOT NULL OR xact_start > now() - {READER_SECONDS} * interval '1 second')))
"""  # noqa: S608 - constants only
# Whole instants only: what one statement ended has one time. $1 the first, $2 before, $3 how many there may be.
_END_OF_STEP: Final = """
SELECT ended_at FROM final_deliveries WHERE ended_at > $1 AND ended_at < $2 ORDER BY ended_at OFFSET $3 LIMIT 1
"""
_START_OF_STEP: Final = """
SELECT ended_at FROM final_deliveries WHERE ended_at < $1 ORDER BY ended_at DESC OFFSET $2 LIMIT 1
"""


def _kept(width: Width) -> str:
    return "NULL::interval" if width.kept is None else f"interval '{width.kept.total_seconds():.0f} seconds'"


# $1 ended from, $2 until before. Counted by the minute first, so that the four widths are made of few rows. The row
# with the empty endpoint_id is the organization's.
_COUNT: Final = f"""
WITH widths (width_seconds, kept) AS (
    VALUES {", ".join(f"({each.seconds}, {_kept(each)})" for each in WIDTHS)}
), ended AS MATERIALIZED (
    SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id, state, attempts_made, ended_at,
           {_CAME_AT_MS} / 60000 AS minute
      FROM final_deliveries WHERE ended_at >= $1 AND ended_at < $2
), by_minute AS MATERIALIZED (
    SELECT organization_id, endpoint_id, minute, count(*) FILTER (WHERE state = 'delivered') AS delivered,
           count(*) FILTER (WHERE state = 'dead') AS dead, count(*) FILTER (WHERE state = 'cancelled') AS cancelled
      FROM ended GROUP BY organization_id, endpoint_id, minute
), slots_by_minute AS MATERIALIZED (
    SELECT organization_id, endpoint_id, minute, slot, count(*) AS n
      FROM ended e CROSS JOIN LATERAL (  -- one look into the primary key each
           SELECT {SLOT} AS slot FROM attempts a
            WHERE a.event_uid = e.event_uid AND a.subscription_id = e.subscription_id
              AND a.replay_number = e.replay_number AND {IS_MEASURED} OFFSET 0) AS measured
     GROUP BY organization_id, endpoint_id, minute, slot
), counted AS (
    SELECT organization_id, coalesce(endpoint_id, '') AS endpoint_id, width_seconds, starts,
           sum(delivered) AS delivered, sum(dead) AS dead, sum(cancelled) AS cancelled
      FROM by_minute CROSS JOIN widths
     CROSS JOIN LATERAL (SELECT minute * 60 - minute * 60 % width_seconds) AS b (starts)
     WHERE kept IS NULL OR to_timestamp(starts) > now() - kept
     GROUP BY GROUPING SETS ((organization_id, width_seconds, starts),
                             (organization_id, endpoint_id, width_seconds, starts))
), by_slot AS (
    SELECT organization_id, coalesce(endpoint_id, '') AS endpoint_id, width_seconds, starts, slot, sum(n)::int AS n
      FROM slots_by_minute CROSS JOIN widths
     CROSS JOIN LATERAL (SELECT minute * 60 - minute * 60 % width_seconds) AS b (starts)
     WHERE kept IS NULL OR to_timestamp(starts) > now() - kept
     GROUP BY GROUPING SETS ((organization_id, width_seconds, starts, slot),
                             (organization_id, endpoint_id, width_seconds, starts, slot))
), times AS (
    SELECT organization_id, endpoint_id, width_seconds, starts, array_agg(slot) AS slots, array_agg(n) AS attempts
      FROM by_slot GROUP BY organization_id, endpoint_id, width_seconds, starts
), healed AS MATERIALIZED (
    SELECT e.organization_id, e.endpoint_id, e.minute, e.attempts_made, e.ended_at, f.reason, f.status
      FROM ended e LEFT JOIN LATERAL (
           SELECT reason::text, status FROM attempts a
            WHERE a.event_uid = e.event_uid AND a.subscription_id = e.subscription_id
              AND a.replay_number = e.replay_number AND a.outcome <> 'accepted' ORDER BY number DESC LIMIT 1
           ) AS f ON true
     WHERE e.state = 'delivered' AND e.attempts_made > 1
), written AS (
    INSERT INTO delivery_counts AS c (organization_id, endpoint_id, width_seconds, starts_at, delivered, dead,
                                      cancelled, time_slots, time_attempts)
    SELECT organization_id, endpoint_id, width_seconds, to_timestamp(starts), delivered, dead, cancelled,
           coalesce(slots, '{{}}'), coalesce(attempts, '{{}}')
      FROM counted LEFT JOIN times USING (organization_id, endpoint_id, width_seconds, starts)
        ON CONFLICT (organization_id, endpoint_id, width_seconds, starts_at) DO UPDATE
       SET delivered = c.delivered + excluded.delivered, dead = c.dead + excluded.dead,
           cancelled = c.cancelled + excluded.cancelled,
           (time_slots, time_attempts) = (
               SELECT coalesce(array_agg(slot ORDER BY slot), '{{}}'), coalesce(array_agg(n ORDER BY slot), '{{}}')
                 FROM (SELECT slot, sum(n)::int AS n FROM (
                           SELECT * FROM unnest(c.time_slots, c.time_attempts)
                            UNION ALL SELECT * FROM unnest(excluded.time_slots, excluded.time_attempts)
                       ) AS both_ (slot, n) GROUP BY slot) AS merged)
), healing AS (
    INSERT INTO healed_counts AS h (organization_id, endpoint_id, width_seconds, starts_at, deliveries, attempts_max,
                                    healed_at, reason, status)
    SELECT organization_id, endpoint_id, width_seconds, to_timestamp(starts), count(*), max(attempts_made),
           max(ended_at), (array_agg(reason ORDER BY ended_at DESC))[1], (array_agg(status ORDER BY ended_at DESC))[1]
      FROM healed CROSS JOIN widths
     CROSS JOIN LATERAL (SELECT minute * 60 - minute * 60 % width_seconds) AS b (starts)
     WHERE kept IS NULL OR to_timestamp(starts) > now() - kept
     GROUP BY organization_id, endpoint_id, width_seconds, starts
        ON CONFLICT (organization_id, width_seconds, starts_at, endpoint_id) DO UPDATE
       SET deliveries = h.deliveries + excluded.deliveries,
           attempts_max = greatest(h.attempts_max, excluded.attempts_max),
           healed_at = greatest(h.healed_at, excluded.healed_at),
           reason = CASE WHEN excluded.healed_at >= h.healed_at THEN excluded.reason ELSE h.reason END,
           status = CASE WHEN excluded.healed_at >= h.healed_at THEN excluded.status ELSE h.status END
)
SELECT count(*) FROM ended
"""  # noqa: S608 - constants only

# $1 the width, $2 before, $3 the limit. What is being counted just now is younger.
_PURGE: Final = tuple(
    f"""DELETE FROM {table} WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM {table} WHERE width_seconds = $1 AND starts_at < $2 LIMIT $3 FOR UPDATE SKIP LOCKED))"""  # noqa: S608
    for table in ("delivery_counts", "healed_counts")
)


class PostgresCountStore:
    """Implements ``CountStore``."""

    def __init__(self, engine: AsyncEngine, *, lag_seconds: float = LAG_SECONDS) -> None:
        self._engine = engine
        self._lag_seconds = lag_seconds

    async def count_on(self, limit: int) -> CountingStep:
        """Count what has ended since the last step."""
        async with driver(self._engine) as connection, connection.transaction():
            progress = await connection.fetchrow(_LOCK) or await connection.fetchrow(_BEGIN)
            if progress is None or not await connection.fetchval(_IS_INDEXED):
                return CountingStep()
            until: datetime = await connection.fetchval(_LIMIT, self._lag_seconds)
            since: datetime | None = progress["counted_until"]
            if since is None:  # from here on forward, and from here on back
                await connection.execute("UPDATE counts_progress SET counted_from = $1, counted_until = $1", until)
                return CountingStep(0, is_behind=True, lag_seconds=self._lag_seconds)
            until = max(since, until)
            more = await connection.fetchval(_END_OF_STEP, since, until, limit)
            counted = await _count(connection, since, more or until)
            await connection.execute("UPDATE counts_progress SET counted_until = $1", more or until)
            lag: float = await connection.fetchval(
                "SELECT extract(epoch FROM now() - $1::timestamptz)::float8", more or until
            )
        return CountingStep(counted, is_behind=more is not None, lag_seconds=lag)

    async def count_back(self, limit: int) -> CountingStep:
        """Count what had ended before the first step."""
        async with driver(self._engine) as connection, connection.transaction():
            progress = await connection.fetchrow(_LOCK)
            if progress is None or progress["counted_from"] is None or progress["counted_from"] == BEGINNING:
                return CountingStep()
            until: datetime = progress["counted_from"]
            since = await connection.fetchval(_START_OF_STEP, until, limit)
            counted = await _count(connection, since or BEGINNING, until)
            await connection.execute("UPDATE counts_progress SET counted_from = $1", since or BEGINNING)
        return CountingStep(counted, is_behind=since is not None, lag_seconds=0.0)


async def purge_counts(connection: asyncpg.Connection, oldest_kept: datetime, limit: int) -> None:
    """Delete the buckets of events before ``oldest_kept``, and narrow ones that no period shows any more."""
    now: datetime = await connection.fetchval("SELECT now()")
    for width in WIDTHS:
        before = oldest_kept if width.kept is None else max(oldest_kept, now - width.kept)
        for statement in _PURGE:
            while int((await connection.execute(statement, width.seconds, before, limit)).split()[1]) == limit:
                pass


async def _count(connection: asyncpg.Connection, since: datetime, until: datetime) -> int:
    await connection.execute("SET LOCAL enable_seqscan = off")  # whatever the planner thinks of a day it has not seen
    counted: int = await connection.fetchval(_COUNT, since, until, timeout=STEP_SECONDS_MAX)
    return counted
