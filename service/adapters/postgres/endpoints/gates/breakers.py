"""Breakers in PostgreSQL: the core says what becomes of them. All workers share them; endpoints that work have none.

An open breaker has a gate, which lets claims pass once it is half open, and a row of limits, by which the claim bounds
the endpoint's requests in flight over all workers.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import asyncpg

from service.core.deliveries.effect import CountFailure
from service.core.endpoints.gates.breaker import Breaker, BreakerLimits, BreakerState

_COLUMNS: Final = """endpoint_id, failing_since, attempts_failed, failures_in_a_row, state, opened_count, changes_at,
       in_flight_max, clock_timestamp() AS at"""
# Makes the rows that are missing, and locks all, in one order, so that two of these cannot deadlock. What comes late
# for an endpoint that was removed must shut no gate: its deliveries could not be cancelled.
_LOCK: Final = f"""
INSERT INTO breakers (endpoint_id, attempts_failed)
SELECT id, 0 FROM endpoints WHERE id = ANY ($1::text[]) AND removed_at IS NULL ORDER BY id
    ON CONFLICT (endpoint_id) DO UPDATE SET endpoint_id = breakers.endpoint_id
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants only
_LOCK_KNOWN: Final = f"""
SELECT {_COLUMNS} FROM breakers WHERE endpoint_id = ANY ($1) ORDER BY endpoint_id FOR UPDATE
"""  # noqa: S608
_WRITE: Final = """
UPDATE breakers b
   SET failing_since = n.failing_since, attempts_failed = n.attempts_failed, failures_in_a_row = n.failures_in_a_row,
       state = n.state, opened_count = n.opened_count, changes_at = n.changes_at, in_flight_max = n.in_flight_max
  FROM unnest($1::text[], $2::timestamptz[], $3::int[], $4::int[], $5::text[], $6::int[], $7::timestamptz[], $8::int[])
       AS n (endpoint_id, failing_since, attempts_failed, failures_in_a_row, state, opened_count, changes_at,
             in_flight_max)
 WHERE b.endpoint_id = n.endpoint_id
"""
# Endpoints that were removed while an attempt at them was settled.
_PURGE: Final = (
    """DELETE FROM gates g WHERE kind = 'breaker' AND NOT EXISTS (
           SELECT FROM breakers b JOIN endpoints e ON e.id = b.endpoint_id
            WHERE b.endpoint_id = g.endpoint_id AND e.removed_at IS NULL)""",
    """DELETE FROM endpoint_limits l
        WHERE breaker_in_flight IS NOT NULL AND rate_limit_per_second IS NULL AND max_in_flight IS NULL
          AND NOT EXISTS (SELECT FROM gates g WHERE g.endpoint_id = l.endpoint_id AND g.kind = 'breaker')""",
    """UPDATE endpoint_limits l SET breaker_in_flight = NULL
        WHERE breaker_in_flight IS NOT NULL
          AND NOT EXISTS (SELECT FROM gates g WHERE g.endpoint_id = l.endpoint_id AND g.kind = 'breaker')""",
)
_FORGET: Final = "DELETE FROM breakers WHERE endpoint_id = ANY ($1)"

# $1 endpoints in order, $2 when claims may pass, $3 what the gates say, $4 the most requests in flight.
_SHUT: Final = """
INSERT INTO gates (endpoint_id, kind, until, probe_at, detail)
SELECT endpoint_id, 'breaker', 'infinity', probe_at, detail
  FROM unnest($1::text[], $2::timestamptz[], $3::text[]) AS s (endpoint_id, probe_at, detail)
    ON CONFLICT (endpoint_id, kind) DO UPDATE SET probe_at = excluded.probe_at, detail = excluded.detail
"""
_BOUND: Final = """
INSERT INTO endpoint_limits (endpoint_id, breaker_in_flight)
SELECT * FROM unnest($1::text[], $2::int[])
    ON CONFLICT (endpoint_id) DO UPDATE SET breaker_in_flight = excluded.breaker_in_flight
"""
_OPEN: Final = "DELETE FROM gates WHERE endpoint_id = ANY ($1) AND kind = 'breaker'"
_UNBOUND: Final = (
    """DELETE FROM endpoint_limits
        WHERE endpoint_id = ANY ($1) AND rate_limit_per_second IS NULL AND max_in_flight IS NULL""",
    "UPDATE endpoint_limits SET breaker_in_flight = NULL WHERE endpoint_id = ANY ($1)",
)


async def lock_breakers(connection: asyncpg.Connection, endpoint_ids: Iterable[str]) -> Mapping[str, asyncpg.Record]:
    """Lock the breakers of these endpoints, but for those that have been removed; makes those that are missing."""
    return {row["endpoint_id"]: row for row in await connection.fetch(_LOCK, sorted(endpoint_ids))}


async def count_outcomes(
    connection: asyncpg.Connection,
    outcomes: Mapping[str, Sequence[CountFailure | None]],
    locked: Mapping[str, asyncpg.Record],
    limits: BreakerLimits,
) -> None:
    """Count what attempts at each endpoint came to, in order (None: a success), in the caller's transaction.

    ``locked`` is what ``lock_breakers`` returned; of endpoints that were only locked, nothing is left behind.
    """
    before = {each: breaker_of(row) for each, row in locked.items()}
    after: dict[str, Breaker | None] = {}
    for each, row in locked.items():
        breaker: Breaker | None = before[each]
        for failure in outcomes.get(each, ()):
            if failure is not None:
                breaker = (breaker or Breaker()).failed(row["at"], limits, is_outage=failure.is_outage)
            elif breaker is not None:
                breaker = breaker.succeeded(row["at"])
        after[each] = None if breaker == Breaker() else breaker
    for row in locked.values():
        await _write(connection, before, after, row["at"])
        break


async def count_successes(connection: asyncpg.Connection, counts: Mapping[str, int]) -> None:
    """Count successes of those endpoints that have a breaker, in the caller's transaction."""
    rows = await connection.fetch(_LOCK_KNOWN, sorted(counts))
    before = {row["endpoint_id"]: breaker_of(row) for row in rows}
    after = {
        row["endpoint_id"]: before[row["endpoint_id"]].succeeded(row["at"], counts[row["endpoint_id"]]) for row in rows
    }
    if rows:
        await _write(connection, before, after, rows[0]["at"])


async def forget_breakers(connection: asyncpg.Connection, endpoint_ids: Iterable[str]) -> None:
    """These endpoints begin anew: what failed was another receiver, or nobody sends to them any more."""
    found = sorted(endpoint_ids)
    await connection.execute(_FORGET, found)
    await _open(connection, found)


async def purge_breakers(connection: asyncpg.Connection) -> None:
    """Open the gates, and lift the bounds, that belong to no breaker of an endpoint that is there."""
    for statement in _PURGE:
        await connection.execute(statement)


async def resume_breaker(connection: asyncpg.Connection, endpoint_id: str) -> None:
    """A person says that the endpoint is worth a try."""
    row = await connection.fetchrow(_LOCK_KNOWN, [endpoint_id])
    if row is not None:
        at: datetime = await connection.fetchval("SELECT now()")
        before = breaker_of(row)
        await _write(connection, {endpoint_id: before}, {endpoint_id: before.resumed(at)}, at)


async def _write(
    connection: asyncpg.Connection,
    before: Mapping[str, Breaker],
    after: Mapping[str, Breaker | None],
    at: datetime,
) -> None:
    kept = {each: breaker for each, breaker in after.items() if breaker is not None}
    if kept:
        values = [_row(each, breaker) for each, breaker in kept.items()]
        await connection.execute(_WRITE, *map(list, zip(*values, strict=True)))
    if len(kept) < len(after):
        await connection.execute(_FORGET, [each for each in after if each not in kept])
    shut = {each: breaker for each, breaker in sorted(kept.items()) if breaker.state is not BreakerState.CLOSED}
    moved = {each: breaker for each, breaker in shut.items() if _stand(before[each]) != _stand(breaker)}
    if moved:
        probe_at, details = [each.probe_at(at) for each in moved.values()], [each.detail for each in moved.values()]
        await connection.execute(_SHUT, list(moved), probe_at, details)
        await connection.execute(_BOUND, list(moved), [each.in_flight_max for each in moved.values()])
    closed = [each for each in sorted(after) if before[each].state is not BreakerState.CLOSED and each not in shut]
    if closed:
        await _open(connection, closed)


async def _open(connection: asyncpg.Connection, endpoint_ids: Sequence[str]) -> None:
    await connection.execute(_OPEN, endpoint_ids)
    for statement in _UNBOUND:
        await connection.execute(statement, endpoint_ids)


def _stand(breaker: Breaker) -> tuple[object, ...]:
    return breaker.state, breaker.changes_at, breaker.in_flight_max


def _row(endpoint_id: str, breaker: Breaker) -> tuple[object, ...]:
    return (
        endpoint_id,
        breaker.failing_since,
        breaker.attempts_failed,
        breaker.failures_in_a_row,
        breaker.state.value,
        breaker.opened_count,
        breaker.changes_at,
        breaker.in_flight_max,
    )


def breaker_of(row: asyncpg.Record) -> Breaker:
    """A row of ``breakers``."""
    return Breaker(
        row["failing_since"],
        row["attempts_failed"],
        row["failures_in_a_row"],
        BreakerState(row["state"]),
        row["opened_count"],
        row["changes_at"],
        row["in_flight_max"],
    )
