"""The audit log: one line in the transaction of each change, and rows that only retention deletes."""

from collections.abc import Sequence
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.both_ways import both_ways
from service.adapters.postgres.endpoints.ids import new_id
from service.adapters.postgres.engine import driver
from service.core.audit.actor import ACTOR_ID_BYTES_MAX, ADDRESS_BYTES_MAX, Actor
from service.core.audit.entry import AuditOperation, EntryFilter, EntryView, State, changed, written
from service.core.walk import Walk
from service.ports.desk import TimeKeyset

_INSERT: Final = """
INSERT INTO audit_log (id, organization_id, actor_kind, actor_id, address, operation, object_id, before, after)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""

# $1 organization, $2 operation, $3 object, $4 actor, $5 since, $6 until; $7, $8 the entry shown last; $9 the limit.
_LIST: Final = both_ways("""
SELECT id, at, organization_id, actor_kind, actor_id, address, operation, object_id, before, after FROM audit_log
 WHERE ($1::text IS NULL OR organization_id = $1) AND ($2::text IS NULL OR operation = $2)
   AND ($3::text IS NULL OR object_id = $3) AND ($4::text IS NULL OR actor_id = $4)
   AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6)
   AND ($7::timestamptz IS NULL OR (at, id) < ($7, $8::text))
 ORDER BY at DESC, id DESC LIMIT $9
""")

# Older than $1, at most $2. The table's trigger refuses to delete what is younger than 30 days. One worker at a time;
# no row is locked beforehand, as that takes the right to change it, which the service does not have.
PURGE_AUDIT_LOG: Final = """
WITH turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(hashtextextended('audit_log', 0)) AS is_ours)
DELETE FROM audit_log WHERE (SELECT is_ours FROM turn) AND id IN (
    SELECT id FROM audit_log WHERE at < now() - $1::interval ORDER BY at, id LIMIT $2)
"""


async def audit(
    connection: asyncpg.Connection,
    by: Actor,
    operation: AuditOperation,
    organization_id: str | None,
    object_id: str,
    before: State | None = None,
    after: State | None = None,
) -> None:
    """Enter a change, in the transaction that makes it. States that do not differ: nothing was changed, no entry."""
    before, after = changed(before, after)
    if before == {} and after == {}:
        return
    await connection.execute(
        _INSERT,
        new_id("aud"),
        organization_id,
        by.kind.value,
        _cut(by.id, ACTOR_ID_BYTES_MAX),
        None if by.address is None else _cut(by.address, ADDRESS_BYTES_MAX),
        operation,
        object_id,
        written(before),
        written(after),
    )


def _cut(text: str, bytes_max: int) -> str:
    return text.encode(errors="replace")[:bytes_max].decode(errors="ignore").replace("\0", "?")


class AuditWriter:
    """Implements ``AuditLog``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def enter(self, by: Actor, operation: AuditOperation, object_id: str, after: State) -> None:
        """Enter what is about to be done. Unless this returns, it must not be done."""
        async with driver(self._engine) as connection:
            await audit(connection, by, operation, None, object_id, None, after)


class AuditReader:
    """Implements ``AuditDesk``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def list(self, wanted: EntryFilter, walk: Walk[TimeKeyset]) -> Sequence[EntryView]:
        """Entries, by (at, id)."""
        at, entry_id = walk.beside or (None, None)
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                _LIST[walk.is_descending],
                *(wanted.organization_id, wanted.operation, wanted.object_id, wanted.actor_id),
                *(wanted.since, wanted.until, at, entry_id, walk.limit),
            )
        return [EntryView(*row) for row in rows]
