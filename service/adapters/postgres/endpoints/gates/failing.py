"""Failing endpoints in PostgreSQL: the core judges them, by their breakers; what it says is written in one go."""

from collections.abc import Sequence
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.engine import driver
from service.adapters.postgres.events.announcements import announce
from service.core.audit.actor import POSTHORN
from service.core.endpoints.gates.failing import (
    ATTEMPTS_MIN,
    DisablingPolicy,
    Recovery,
    Stage,
    StageReached,
    Streak,
    recovery,
)
from service.core.endpoints.gates.gate import GateKind

_PATTERNS: Final = """ARRAY(SELECT event_type FROM subscriptions s
             WHERE s.endpoint_id = e.id AND s.removed_at IS NULL) AS patterns"""

# $1 the seconds after which each stage comes, $2 the least number of failed attempts for the last one, $3 the limit.
# Only breakers that come to a stage are read on, and those that another worker judges are skipped. A settlement that
# counts a failure waits for this, so the breaker comes before the gate, as there.
_REACHED: Final = f"""
SELECT e.organization_id, e.id AS endpoint_id, {_PATTERNS}, b.failing_since, b.attempts_failed,
       coalesce(f.stage, 0) AS stage, coalesce(f.attempts_failed, 0) AS attempts_told, now() AS at
  FROM breakers b
  JOIN endpoints e ON e.id = b.endpoint_id
  LEFT JOIN failing_endpoints f ON f.endpoint_id = b.endpoint_id AND f.failing_since = b.failing_since
 WHERE now() - b.failing_since >= ($1::float8[])[coalesce(f.stage, 0) + 1] * interval '1 second'
   AND b.attempts_failed > coalesce(f.attempts_failed, 0)
   AND (coalesce(f.stage, 0) < {Stage.WARNED_AGAIN:d} OR b.attempts_failed >= $2)
   AND e.removed_at IS NULL
   AND NOT EXISTS (SELECT FROM gates g WHERE g.endpoint_id = e.id AND g.kind = '{GateKind.PAUSED}')
 ORDER BY b.failing_since LIMIT $3 FOR UPDATE OF b SKIP LOCKED
"""  # noqa: S608 - constants only

# The row of an earlier streak gives way: its end had not been seen yet. Whoever judged the same endpoint from an older
# snapshot finds it here that another worker was first, and gets no row.
_COME_TO: Final = """
INSERT INTO failing_endpoints AS f (endpoint_id, failing_since, stage, attempts_failed)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::smallint[], $4::int[])
    ON CONFLICT (endpoint_id) DO UPDATE
   SET failing_since = excluded.failing_since, stage = excluded.stage, attempts_failed = excluded.attempts_failed
 WHERE f.failing_since <> excluded.failing_since OR f.stage < excluded.stage
RETURNING endpoint_id
"""

_DISABLE: Final = f"""
INSERT INTO gates (endpoint_id, kind, until, detail)
SELECT endpoint_id, '{GateKind.DISABLED}', 'infinity', detail
  FROM unnest($1::text[], $2::text[]) AS d (endpoint_id, detail)
    ON CONFLICT DO NOTHING
"""  # noqa: S608 - constants only

_ENABLE: Final = f"""
DELETE FROM gates g USING endpoints e
 WHERE g.endpoint_id = ANY ($1) AND g.kind = '{GateKind.DISABLED}' AND e.id = g.endpoint_id
RETURNING e.organization_id, e.id AS endpoint_id
"""  # noqa: S608 - constants only

_OVER: Final = f"""
SELECT e.organization_id, e.id AS endpoint_id, {_PATTERNS}, f.failing_since, f.attempts_failed, f.stage,
       0 AS attempts_told, now() AS at, e.removed_at IS NOT NULL AS is_removed
  FROM failing_endpoints f
  JOIN endpoints e ON e.id = f.endpoint_id
 WHERE NOT EXISTS (SELECT FROM breakers b WHERE b.endpoint_id = f.endpoint_id AND b.failing_since = f.failing_since)
 ORDER BY f.endpoint_id LIMIT $1 FOR UPDATE OF f SKIP LOCKED
"""  # noqa: S608 - constants only


class PostgresFailingStore:
    """Implements ``FailingStore``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def judge(self, policy: DisablingPolicy, limit: int) -> Sequence[StageReached]:
        """Judge at most ``limit`` of the endpoints that come to a stage now."""
        async with driver(self._engine) as connection, connection.transaction():
            rows = await connection.fetch(_REACHED, list(policy.stage_seconds), ATTEMPTS_MIN, limit)
            judged = [policy.judge(_streak(row), row["at"]) for row in rows]
            reached = [each for each in judged if each is not None]
            return await _write(connection, reached) if reached else reached

    async def end(self, limit: int) -> Sequence[Recovery]:
        """End at most ``limit`` streaks that were told of and are over."""
        async with driver(self._engine) as connection, connection.transaction():
            rows = await connection.fetch(_OVER, limit)
            if not rows:
                return ()
            ended = [row["endpoint_id"] for row in rows]
            await connection.execute("DELETE FROM failing_endpoints WHERE endpoint_id = ANY ($1)", ended)
            opened = await connection.fetch(_ENABLE, ended)
            for each in opened:
                states = {"is_disabled": True}, {"is_disabled": False}
                await audit(
                    connection, POSTHORN, "endpoint.resume", each["organization_id"], each["endpoint_id"], *states
                )
            recoveries = [recovery(_streak(row), row["at"]) for row in rows if not row["is_removed"]]
            await announce(connection, [each.event for each in recoveries if each.event is not None])
        return recoveries


async def _write(connection: asyncpg.Connection, reached: Sequence[StageReached]) -> Sequence[StageReached]:
    """Write them, but for those that another worker has written; returns the rest."""
    streaks = [each.streak for each in reached]
    rows = await connection.fetch(
        _COME_TO,
        [each.endpoint_id for each in streaks],
        [each.failing_since for each in streaks],
        [each.stage for each in reached],
        [each.attempts_failed for each in streaks],
    )
    written = {row["endpoint_id"] for row in rows}
    reached = [each for each in reached if each.streak.endpoint_id in written]
    disabled = [each for each in reached if each.stage is Stage.DISABLED]
    if disabled:
        ids, details = [each.streak.endpoint_id for each in disabled], [each.detail for each in disabled]
        await connection.execute(_DISABLE, ids, details)
        for each in disabled:
            streak, state = each.streak, {"is_disabled": True, "detail": each.detail}
            await audit(
                connection, POSTHORN, "endpoint.disable", streak.organization_id, streak.endpoint_id, after=state
            )
    await announce(connection, [each.event for each in reached if each.event is not None])
    return reached


def _streak(row: asyncpg.Record) -> Streak:
    return Streak(
        row["organization_id"],
        row["endpoint_id"],
        row["patterns"],
        row["failing_since"],
        row["attempts_failed"],
        Stage(row["stage"]),
        row["attempts_told"],
    )
