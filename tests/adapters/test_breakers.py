"""Breakers in PostgreSQL: what no conformance suite sees."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.gates.breakers import purge_breakers
from service.adapters.postgres.endpoints.gates.gates import gates_of
from service.adapters.postgres.engine import connect, driver


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    yield engine
    await engine.dispose()


@pytest.mark.servers
async def test_a_gate_and_a_bound_without_a_breaker_are_lifted_and_others_stay(engine: AsyncEngine) -> None:
    async with driver(engine) as connection:
        await connection.execute("INSERT INTO organizations (id) VALUES ('o')")
        await connection.execute(
            """INSERT INTO endpoints (id, organization_id, url, removed_at)
               SELECT 'ep_' || name, 'o', 'https://e/' || name, CASE WHEN name = 'removed' THEN now() END
                 FROM unnest(ARRAY['open', 'orphan', 'limited', 'removed']) AS name"""
        )
        await connection.execute(
            """INSERT INTO breakers (endpoint_id, failing_since, attempts_failed, state)
               SELECT unnest(ARRAY['ep_open', 'ep_removed']), now(), 10, 'open'"""
        )
        await connection.execute(
            "INSERT INTO gates (endpoint_id, kind, until, probe_at) SELECT id, 'breaker', 'infinity', now() FROM endpoints"
        )
        await connection.execute(
            "INSERT INTO gates (endpoint_id, kind, until) VALUES ('ep_orphan', 'paused', 'infinity')"
        )
        await connection.execute(
            """INSERT INTO endpoint_limits (endpoint_id, max_in_flight, breaker_in_flight)
               SELECT id, CASE WHEN id = 'ep_limited' THEN 7 END, 1 FROM endpoints"""
        )
        await purge_breakers(connection)
        gates = await connection.fetch("SELECT endpoint_id, kind FROM gates ORDER BY 1")
        limits = await connection.fetch(
            "SELECT endpoint_id, max_in_flight, breaker_in_flight FROM endpoint_limits ORDER BY 1"
        )
    assert [tuple(each) for each in gates] == [("ep_open", "breaker"), ("ep_orphan", "paused")]
    assert [tuple(each) for each in limits] == [("ep_limited", 7, None), ("ep_open", None, 1)]


def test_a_kind_of_gate_that_is_not_known_is_told_by_its_name() -> None:
    (gate,) = gates_of([("under_water", None, None, None)])
    assert gate.reason == "its gate under_water is shut"
