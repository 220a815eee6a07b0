"""Requests with an Idempotency-Key: which of them are running, and how they were answered."""

from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver
from service.ports.requests import Answered, Begun, NamedRequest, Reused, Running

RUNS_SECONDS_MAX: Final = 60
"""How long a request is reserved for the process that runs it; no operation takes nearly as long."""


class IdempotencyStore:
    """One row per organization, method, path and key. Rows older than 24 hours are ignored."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def begin(self, request: NamedRequest) -> Begun | Running | Reused | Answered:
        """Start the request, unless it is running or was answered. May raise ``UnavailableError``."""
        row_key = (request.organization_id, request.method, request.path, request.key)
        async with driver(self._engine) as connection:
            # The unique key lets one of any number of callers through. If that one dies while running, only the same
            # request may take over: a different request with the key is still a misuse.
            runs_until = await connection.fetchval(
                """INSERT INTO idempotency_keys AS k
                          (organization_id, method, path, key, request_digest, runs_until)
                   VALUES ($1, $2, $3, $4, $5, now() + $6 * interval '1 second')
                   ON CONFLICT (organization_id, method, path, key) DO UPDATE
                      SET request_digest = excluded.request_digest, created_at = now(),
                          runs_until = excluded.runs_until, status = NULL, sealed_answer = NULL
                    WHERE k.created_at <= now() - interval '24 hours'
                       OR (k.runs_until <= now() AND k.request_digest = excluded.request_digest)
                   RETURNING runs_until""",
                *row_key,
                request.digest,
                RUNS_SECONDS_MAX,
            )
            if runs_until is not None:
                return Begun(runs_until)
            row = await connection.fetchrow(
                """SELECT request_digest, sealed_answer FROM idempotency_keys
                    WHERE organization_id = $1 AND method = $2 AND path = $3 AND key = $4""",
                *row_key,
            )
        if row is None:  # freed a moment ago: the next try gets it
            return Running()
        digest, sealed = row
        if digest != request.digest:
            return Reused()
        return Running() if sealed is None else Answered(sealed)

    async def keep(self, request: NamedRequest, begun: Begun, status: int, sealed: str) -> None:
        """Store the answer, if this process still holds the request. May raise ``UnavailableError``."""
        async with driver(self._engine) as connection:
            await connection.execute(
                """UPDATE idempotency_keys SET runs_until = NULL, status = $6, sealed_answer = $7
                    WHERE organization_id = $1 AND method = $2 AND path = $3 AND key = $4 AND runs_until = $5""",
                *(request.organization_id, request.method, request.path, request.key),
                begun.runs_until,
                status,
                sealed,
            )

    async def free(self, request: NamedRequest, begun: Begun) -> None:
        """Forget the request, if this process still holds it: it may be retried. May raise ``UnavailableError``."""
        async with driver(self._engine) as connection:
            await connection.execute(
                """DELETE FROM idempotency_keys
                    WHERE organization_id = $1 AND method = $2 AND path = $3 AND key = $4 AND runs_until = $5""",
                *(request.organization_id, request.method, request.path, request.key),
                begun.runs_until,
            )


async def purge_idempotency_keys(connection: asyncpg.Connection, limit: int) -> int:
    """Delete rows older than 24 hours, at most ``limit``; returns how many."""
    purged: str = await connection.execute(
        # The age is checked again: a row may have been reused in between.
        """DELETE FROM idempotency_keys
            WHERE created_at <= now() - interval '24 hours' AND ctid = ANY (ARRAY(
                SELECT ctid FROM idempotency_keys WHERE created_at <= now() - interval '24 hours' LIMIT $1))""",
        limit,
    )
    return int(purged.split()[1])
