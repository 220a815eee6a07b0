"""The whole service as its database knows it, for operators."""

from collections.abc import Sequence
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries import statements
from service.adapters.postgres.engine import PROCESS_PREFIX, driver
from service.core.oversight import (
    COUNTED_MAX,
    FAILING_SHOWN_MAX,
    TRAFFIC_COMPARED_MAX,
    TRAFFIC_HOURS,
    TRAFFIC_SHOWN_MAX,
    FailingOrganization,
    OrganizationRow,
    OrganizationsWanted,
    OrganizationTraffic,
    Oversight,
    Process,
    ShutGate,
    Waiting,
)

PROCESSES_MAX: Final = 500
GATES_SHOWN_MAX: Final = 20

# Each process names its connections, so who lives is asked of the server that they are connected to, and nobody has to
# write that he does. Of another role's connections the server tells the name, but not since when.
_SESSIONS: Final = """
SELECT application_name, min(backend_start) AS connected_since, count(*) AS connection_count FROM pg_stat_activity
 WHERE datname = current_database() AND starts_with(application_name, $1)
 GROUP BY application_name ORDER BY application_name LIMIT $2
"""

# From the index of leases, of which there are as many as deliveries are being sent.
_LEASES: Final = """
SELECT leased_by, count(*) AS leased_count, min(lease_expires_at) AS first_expires_at FROM open_deliveries
 WHERE state = 'leased' GROUP BY leased_by ORDER BY leased_by LIMIT $1
"""

_OLDEST_GATES: Final = """
SELECT e.organization_id, g.endpoint_id, g.kind, g.since, CASE WHEN g.until < 'infinity' THEN g.until END, g.detail
  FROM gates g JOIN endpoints e ON e.id = g.endpoint_id
 WHERE g.until > now() AND e.removed_at IS NULL ORDER BY g.since, g.endpoint_id, g.kind LIMIT $1
"""

_GATE_KINDS: Final = """
SELECT g.kind, count(*) FROM shut_gates g JOIN endpoints e ON e.id = g.endpoint_id
 WHERE e.removed_at IS NULL GROUP BY g.kind ORDER BY g.kind
"""

_FAILING: Final = """
SELECT e.organization_id, count(*) AS endpoint_count, min(b.failing_since) AS failing_since
  FROM breakers b JOIN endpoints e ON e.id = b.endpoint_id
 WHERE b.failing_since IS NOT NULL AND e.removed_at IS NULL
 GROUP BY e.organization_id ORDER BY endpoint_count DESC, failing_since, e.organization_id LIMIT $1
"""

# $1 part of the id, $2 the id shown last, $3 the limit, $4 how far open deliveries are counted.
_ORGANIZATIONS: Final = """
WITH page AS MATERIALIZED (
    SELECT id FROM organizations WHERE id > $2 AND ($1 = '' OR position(lower($1) IN lower(id)) > 0)
     ORDER BY id LIMIT $3
)
SELECT p.id, n.endpoint_count, n.failing_count, n.disabled_count, n.gated_count, o.open_count
  FROM page p
  CROSS JOIN LATERAL (
    SELECT count(*) AS endpoint_count, count(b.failing_since) AS failing_count,
           count(*) FILTER (WHERE g.is_disabled) AS disabled_count, count(g.is_disabled) AS gated_count
      FROM endpoints e
      LEFT JOIN breakers b ON b.endpoint_id = e.id
      LEFT JOIN LATERAL (
        SELECT bool_or(kind = 'disabled') AS is_disabled FROM gates WHERE endpoint_id = e.id AND until > now()
      ) g ON true
     WHERE e.organization_id = p.id AND e.removed_at IS NULL) n
  CROSS JOIN LATERAL (
    SELECT count(*) AS open_count FROM (
        SELECT FROM endpoints e, LATERAL (
            SELECT FROM open_deliveries d WHERE d.endpoint_id = e.id LIMIT $4) d
         WHERE e.organization_id = p.id AND e.removed_at IS NULL LIMIT $4) counted) o
 ORDER BY p.id
"""

# From the counts (ADR 59): 24 rows of each organization by their primary key. $1 how many are compared, $2 shown.
_TRAFFIC: Final = f"""
WITH compared AS MATERIALIZED (SELECT id FROM organizations ORDER BY id LIMIT $1)
SELECT o.id, c.hours, c.delivered, c.dead, c.cancelled FROM compared o CROSS JOIN LATERAL (
    SELECT array_agg({TRAFFIC_HOURS - 1} - floor(extract(epoch FROM now() - starts_at) / 3600)::int) AS hours,
           array_agg(delivered) AS delivered, array_agg(dead) AS dead, array_agg(cancelled) AS cancelled,
           sum(delivered + dead + cancelled) AS ended
      FROM delivery_counts
     WHERE organization_id = o.id AND endpoint_id = '' AND width_seconds = 3600
       AND starts_at > now() - interval '{TRAFFIC_HOURS} hours' AND starts_at <= now()) AS c
 WHERE c.ended > 0 ORDER BY c.ended DESC, o.id LIMIT $2
"""  # noqa: S608 - constants only


class OversightReader:
    """Implements ``OversightDesk``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def look(self) -> Oversight:
        """The service now, without the broker."""
        async with driver(self._engine) as connection:
            row = await connection.fetchrow(statements.BACKLOG)
            fan_out_count = await connection.fetchval(statements.FAN_OUTS_WAITING)
            return Oversight(
                await connection.fetchval("SELECT clock_timestamp()"),
                await _processes(connection),
                Waiting(row["due_count"], row["due_age"], row["gated_count"], row["gated_age"], fan_out_count),
                dict(await connection.fetch(_GATE_KINDS)),
                [ShutGate(*each) for each in await connection.fetch(_OLDEST_GATES, GATES_SHOWN_MAX)],
                [FailingOrganization(*each) for each in await connection.fetch(_FAILING, FAILING_SHOWN_MAX)],
            )

    async def traffic(self) -> Sequence[OrganizationTraffic]:
        """The organizations with the most traffic, the busiest first."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(_TRAFFIC, TRAFFIC_COMPARED_MAX, TRAFFIC_SHOWN_MAX)
        return [
            OrganizationTraffic(
                row["id"], *(_by_hour(row["hours"], row[name]) for name in ("delivered", "dead", "cancelled"))
            )
            for row in rows
        ]

    async def organizations(self, wanted: OrganizationsWanted) -> Sequence[OrganizationRow]:
        """Organizations, by id."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(_ORGANIZATIONS, wanted.search, wanted.after, wanted.limit, COUNTED_MAX + 1)
        return [OrganizationRow(*row) for row in rows]


def _by_hour(hours: Sequence[int], counts: Sequence[int]) -> Sequence[int]:
    found = [0] * TRAFFIC_HOURS
    for hour, count in zip(hours, counts, strict=True):
        found[hour] = count
    return found


async def _processes(connection: asyncpg.Connection) -> Sequence[Process]:
    """Those that are connected, with what they hold; then those that only hold something."""
    sessions = await connection.fetch(_SESSIONS, PROCESS_PREFIX, PROCESSES_MAX)
    leases = {row["leased_by"]: row for row in await connection.fetch(_LEASES, PROCESSES_MAX)}
    found: list[Process] = []
    for row in sessions:
        role, _, name = row["application_name"].removeprefix(PROCESS_PREFIX).partition(" ")
        holder = next((each for each in leases if each.endswith(name)), None)  # a long host name was cut
        held = leases.pop(holder, None) if holder else None
        found.append(
            Process(
                *(holder or name, role, row["connected_since"], row["connection_count"]),
                *((held["leased_count"], held["first_expires_at"]) if held else ()),
            )
        )
    return [
        *found,
        *(Process(name, None, None, 0, row["leased_count"], row["first_expires_at"]) for name, row in leases.items()),
    ]
