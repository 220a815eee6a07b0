"""What the service's role may do where another role owns the schema and migrates it (docs/adr/0036-two-roles.md)."""

from typing import Final

import asyncpg

from service.adapters.postgres.partitions import PARTITIONED
from service.ports.errors import RefusedError

WORKED: Final = (
    *PARTITIONED,
    "endpoint_limits",
    "endpoint_places",
    "event_keys",
    "fan_outs",
    "gates",
    "line_heads",
    "open_deliveries",
    "ordered_deliveries",
    "rate_buckets",
    "rate_windows",
    "replay_made",
)
"""The service owns these: only an owner may make, detach and drop a day, or vacuum (before PostgreSQL 17)."""

ROWS: Final = "SELECT, INSERT, UPDATE, DELETE"
KEPT: Final = "SELECT, INSERT, UPDATE"
NARROWER: Final = {
    "alembic_version": "SELECT",
    "audit_log": "SELECT, INSERT, DELETE",  # a trigger keeps what is young
    "counts_progress": KEPT,
    "deliveries": "SELECT",
    "endpoints": KEPT,
    "event_types": "SELECT, INSERT, UPDATE (sample)",
    "organizations": KEPT,
    "subscriptions": KEPT,
}
"""Tables with fewer privileges than ``ROWS``: whose rows are ended and kept, never deleted, or not changed at all."""

LOCK_TIMEOUT: Final = "10s"
_LOCK: Final = 0x6772616E7473  # "grants"

_ROLE: Final = """
SELECT quote_ident(rolname) AS name, quote_ident(current_user) AS migrator, rolsuper AS is_superuser,
       pg_has_role(rolname, 'USAGE') AS is_ours
  FROM pg_roles WHERE rolname = $1
"""

_TABLES: Final = """
SELECT relname AS name, quote_ident(relname) AS quoted FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition ORDER BY relname
"""

# Partitions too, attached or not; a table that has its owner is not locked.
_NOT_OWNED: Final = """
SELECT quote_ident(relname) FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND pg_get_userbyid(relowner) <> $1
   AND (relname = ANY ($2) OR relname ~ $3)
 ORDER BY relname
"""


async def grant_to(connection: asyncpg.Connection, role: str) -> None:
    """Give ``role`` what the service needs, and no more: in one transaction, and safe to repeat.

    Raises ``RefusedError`` for a role that does not exist, is a superuser, or is not granted to the connection's own.
    """
    found = await connection.fetchrow(_ROLE, role)
    if found is None:
        raise RefusedError(f'there is no role {role!r}; create it first: CREATE ROLE "{role}" LOGIN')
    if found["is_superuser"]:
        raise RefusedError(f"the role {role!r} is a superuser, whom nothing restricts; name an ordinary role")
    if not found["is_ours"]:
        grant = f"GRANT {found['name']} TO {found['migrator']}"
        raise RefusedError(f"the migrating role must be a member of {role!r}: {grant}")
    name = found["name"]
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)  # two deployments take turns
        await connection.execute(f"GRANT USAGE, CREATE ON SCHEMA public TO {name}")
        days = f"^({'|'.join(PARTITIONED)})_[0-9]{{8}}$"
        for (table,) in await connection.fetch(_NOT_OWNED, role, WORKED, days):
            await connection.execute(f"ALTER TABLE {table} OWNER TO {name}")
        for table, quoted in await connection.fetch(_TABLES):
            if table not in WORKED:
                await connection.execute(f"REVOKE ALL ON {quoted} FROM {name}")
                await connection.execute(f"GRANT {NARROWER.get(table, ROWS)} ON {quoted} TO {name}")
