"""Deferred fan-outs in PostgreSQL: deliveries made in chunks, each in one transaction."""

from collections.abc import Collection, Sequence
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries import statements
from service.adapters.postgres.deliveries.lines import line_up
from service.adapters.postgres.engine import driver
from service.core.endpoints.subscription import patterns_covering
from service.ports.store import Asking, Choose, FanOutStep


class PostgresFanOutStore:
    """Implements ``FanOutStore``. A fan-out's row stays locked for a step, so that workers share them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def next_organization(self, after: str, resting: Collection[str]) -> str | None:
        """The next organization after ``after`` that has fan-outs and is not ``resting``."""
        async with driver(self._engine) as connection:
            found: str | None = await connection.fetchval(statements.NEXT_TO_FAN_OUT, after, list(resting))
            return found

    async def step(self, organization_id: str, limit: int, choose: Choose) -> FanOutStep | None:
        """Fan out the organization's oldest event to at most ``limit`` endpoints more."""
        async with driver(self._engine) as connection, connection.transaction():
            row = await connection.fetchrow(statements.TAKE_FAN_OUT, organization_id)
            return await _step(connection, organization_id, row, limit, choose) if row is not None else None


async def _step(
    connection: asyncpg.Connection, organization_id: str, row: asyncpg.Record, limit: int, choose: Choose
) -> FanOutStep:
    uid: UUID = row["event_uid"]
    found: Sequence[asyncpg.Record] = ()
    if row["event_type"] is not None:  # otherwise it is past retention
        patterns = list(patterns_covering(row["event_type"]))
        found = await connection.fetch(
            statements.ASKING, organization_id, patterns, row["done_through"], row["frontier"], limit
        )
    asking = [Asking(*columns) for *columns, has_expired in found if not has_expired]
    # The row stays locked meanwhile, but nothing else: who changes an endpoint now does not wait for this.
    chosen = await choose(row["body"], asking) if asking else ()
    if chosen:
        ids, endpoint_ids = [each.subscription_id for each in chosen], [each.endpoint_id for each in chosen]
        made = {each["subscription_id"] for each in await connection.fetch(statements.FAN_OUT, uid, ids, endpoint_ids)}
        places = [
            (uid, each.subscription_id, 0, each.endpoint_id, each.line, row["occurred_at"])
            for each in chosen
            if each.line is not None and each.subscription_id in made
        ]
        if places:
            await line_up(connection, places)
    if len(found) < limit:
        await connection.execute("DELETE FROM fan_outs WHERE event_uid = $1", uid)
    else:
        done_through = found[-1]["endpoint_id"]
        await connection.execute("UPDATE fan_outs SET done_through = $2 WHERE event_uid = $1", uid, done_through)
    return FanOutStep(uid, len(asking), len(chosen))
