"""Gates in PostgreSQL, as people see and move them; the road shuts and reads them in its own statements."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from service.adapters.postgres.endpoints.gates.breakers import resume_breaker
from service.core.endpoints.gates.gate import OPENED_BY_PEOPLE, Gate, GateKind

_KINDS: Final = frozenset(each.value for each in GateKind)

GATES_OF_E: Final = """(SELECT array_agg((g.kind, g.since, g.until, g.detail) ORDER BY g.since, g.kind)
              FROM shut_gates g WHERE g.endpoint_id = e.id)"""
"""The gates of the endpoint ``e``, those that come and go with each request last; ``gates_of`` reads them."""


def gates_of(rows: Sequence[asyncpg.Record] | None) -> tuple[Gate, ...]:
    """What ``GATES_OF_E`` found."""
    return tuple(
        Gate(GateKind(kind) if kind in _KINDS else kind, since, until, detail)
        for kind, since, until, detail in rows or ()
    )


async def shut_gate(
    connection: asyncpg.Connection, endpoint_id: str, kind: GateKind, detail: str | None = None
) -> None:
    """Shut a gate that has no end. One that is shut already stays as it is."""
    await connection.execute(
        """INSERT INTO gates (endpoint_id, kind, since, until, detail)
           VALUES ($1, $2, clock_timestamp(), 'infinity', $3)
               ON CONFLICT DO NOTHING""",
        endpoint_id,
        kind,
        detail,
    )


async def set_paused(
    connection: asyncpg.Connection, organization_id: str, endpoint_id: str, *, is_paused: bool
) -> None:
    """Pause the endpoint, or open every gate of it that only a person opens, and forget its failures."""
    await connection.execute(
        "UPDATE endpoints SET is_paused = $3, updated_at = now() WHERE organization_id = $1 AND id = $2",
        organization_id,
        endpoint_id,
        is_paused,
    )
    if is_paused:
        await shut_gate(connection, endpoint_id, GateKind.PAUSED)
    else:
        await resume_breaker(connection, endpoint_id)  # otherwise it would be disabled again within a minute
        await connection.execute(
            "DELETE FROM gates WHERE endpoint_id = $1 AND kind = ANY ($2)", endpoint_id, list(OPENED_BY_PEOPLE)
        )
