"""A lent connection comes back, whatever happened to it."""

import asyncio
from contextlib import AsyncExitStack

import asyncpg
import pytest
from sqlalchemy import make_url

from service.adapters.postgres.engine import connect, connect_pools, driver, in_use
from service.ports.errors import UnavailableError
from tests.contract.relay import Relay


async def test_a_statement_cancelled_half_way_gives_its_connection_back(database_url: str) -> None:
    engine = connect(database_url, pool_size=1)
    for is_in_transaction in (False, True):
        with pytest.raises(TimeoutError):  # noqa: PT012 - the error must come from inside
            async with asyncio.timeout(0.1), driver(engine) as connection, AsyncExitStack() as stack:
                if is_in_transaction:
                    await stack.enter_async_context(connection.transaction())
                await connection.execute("SELECT pg_sleep(30)")
        assert in_use(engine) == 0
        async with driver(engine) as connection:
            assert not connection.is_in_transaction()
            assert await connection.fetchval("SELECT 1") == 1
    await engine.dispose()


async def test_a_transaction_that_begins_after_nobody_waits_for_it_is_not_handed_out(database_url: str) -> None:
    """Whoever got its connection would write into it, ack, and never commit."""
    url = make_url(database_url)
    async with Relay(url.host or "127.0.0.1", url.port or 5432) as relay:
        through = url.set(host="127.0.0.1", port=relay.port).render_as_string(hide_password=False)
        engine = connect(through, pool_size=1)
        async with driver(engine) as connection:
            await connection.execute("SELECT 1")
        relay.sink()
        with pytest.raises(UnavailableError):
            async with driver(engine) as connection:
                await connection.execute("BEGIN", timeout=0.1)
        relay.flow()  # now PostgreSQL gets it
        async with driver(engine) as connection:
            await connection.execute("INSERT INTO organizations (id) VALUES ('org_kept')")
        observer = await asyncpg.connect(database_url)
        try:
            assert await observer.fetchval("SELECT count(*) FROM organizations") == 1
        finally:
            await observer.close()
            await engine.dispose()


async def test_a_connection_that_was_closed_while_it_was_lent_is_replaced(database_url: str) -> None:
    engine = connect(database_url, pool_size=1)
    async with driver(engine) as connection:
        connection.terminate()
    async with driver(engine) as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await engine.dispose()


async def test_a_wait_for_a_connection_can_be_cancelled(database_url: str) -> None:
    engine = connect(database_url, pool_size=1)
    async with driver(engine):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), driver(engine):
                pass
    for _ in range(2):
        async with driver(engine) as connection:
            assert await connection.fetchval("SELECT 1") == 1
    assert in_use(engine) == 0
    await engine.dispose()


async def test_a_first_connection_that_is_refused_is_unavailable_and_leaks_nothing(database_url: str) -> None:
    engine = connect(database_url.rpartition("/")[0] + "/no_such_database", pool_size=1)
    for _ in range(3):
        with pytest.raises(UnavailableError, match=r'^database "no_such_database" does not exist; create it'):
            async with driver(engine):
                pass
    assert in_use(engine) == 0
    await engine.dispose()


@pytest.mark.parametrize(("connections_max", "sizes"), [(4, [3, 1]), (12, [8, 4]), (100, [96, 4])])
async def test_two_pools_share_what_a_process_may_open(connections_max: int, sizes: list[int]) -> None:
    engines = connect_pools("postgresql://u@127.0.0.1:9/d", connections_max=connections_max, command_timeout_seconds=1)
    assert [engine.pool.size() for engine in engines] == sizes  # type: ignore[attr-defined]  # a QueuePool
