"""Which statements a reader runs, and whether their plans scan a whole big table."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries.list import IN_INDEX_ORDER
from service.adapters.postgres.engine import driver

ROWS_MIN = 2000
"""Smaller tables may be scanned whole, as the planner rightly prefers."""

Ran = dict[str, tuple[Any, ...]]
"""The statements that were run, with their last arguments; those under ``IN_INDEX_ORDER`` begin with ``IN_ORDER``."""

IN_ORDER = "/* in index order */ "


@asynccontextmanager
async def listening(engine: AsyncEngine) -> AsyncIterator[Ran]:
    """Collect the statements run on ``engine``, which must have exactly one connection."""
    ran: Ran = {}
    mark = ""

    def remember(record: Any) -> None:  # noqa: ANN401 - asyncpg's LoggedQuery
        nonlocal mark
        first = record.query.split(None, 1)[0].rstrip(";").upper()
        if record.query == IN_INDEX_ORDER:
            mark = IN_ORDER
        elif first in {"BEGIN", "COMMIT", "ROLLBACK"}:
            mark = ""
        elif first in {"SELECT", "WITH"}:
            ran[mark + record.query] = tuple(record.args)

    async with driver(engine) as connection:
        connection.add_query_logger(remember)
    try:
        yield ran
        await asyncio.sleep(0)  # asyncpg calls its loggers a moment later
    finally:
        async with driver(engine) as connection:
            connection.remove_query_logger(remember)


async def plan_of(connection: asyncpg.Connection, statement: str, arguments: tuple[Any, ...]) -> Mapping[str, Any]:
    """The plan for exactly these arguments."""
    async with connection.transaction(readonly=True):
        if statement.startswith(IN_ORDER):
            await connection.execute(IN_INDEX_ORDER)
        found = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *arguments)
    [found] = json.loads(found) if isinstance(found, str) else found  # SQLAlchemy's connections decode it
    plan: Mapping[str, Any] = found["Plan"]
    return plan


async def seq_scans(
    connection: asyncpg.Connection, statement: str, arguments: tuple[Any, ...], *, rows_min: int = ROWS_MIN
) -> list[str]:
    """The tables of at least ``rows_min`` rows that the plan scans whole."""
    sizes = dict(await connection.fetch("SELECT relname, reltuples::bigint FROM pg_class WHERE relkind = 'r'"))
    read = {
        node["Relation Name"]
        for node in nodes_of(await plan_of(connection, statement, arguments))
        if node["Node Type"] == "Seq Scan"
    }
    # pg_: asyncpg also runs its own queries on the catalog, for types
    return sorted(name for name in read if sizes.get(name, 0) >= rows_min and not name.startswith("pg_"))


def nodes_of(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every node of a plan, from the top."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes_of(below)
