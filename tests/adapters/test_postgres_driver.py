"""A lent connection comes back, whatever happened to it."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from service.adapters.postgres.engine import connect, driver, in_use
from service.ports.errors import UnavailableError


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
