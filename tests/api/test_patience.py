"""What a request gave up ends before the application does, so that its connection is given back."""

import asyncio

import asyncpg
import pytest

from service.adapters.postgres.engine import connect, driver
from service.api import patience
from service.api.patience import Patience, let_go
from service.ports.errors import UnavailableError
from tests.end_to_end.waiting import until

OTHERS = """SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""


async def test_the_end_waits_for_what_was_given_up() -> None:
    rolled_back = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as a rollback, which takes a turn of the loop
            rolled_back.set()

    with pytest.raises(UnavailableError):
        await Patience(0.001).wait(work())
    assert not rolled_back.is_set()
    await let_go()
    assert rolled_back.is_set()


async def test_it_does_not_wait_for_a_database_that_never_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LEAVE_SECONDS_MAX", 0.01)
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await ended.wait()

    with pytest.raises(UnavailableError):
        await Patience(0.001).wait(work())
    await let_go()
    ended.set()
    await let_go()


async def test_who_closes_the_pool_after_that_leaves_no_connection_open(database_url: str) -> None:
    engine, watching = connect(database_url), await asyncpg.connect(database_url)

    async def work() -> None:
        async with driver(engine) as connection, connection.transaction():
            await connection.execute("SELECT pg_sleep(60)")

    async def is_under_way() -> bool:
        return bool(await watching.fetchval(f"{OTHERS} AND state = 'active' AND query LIKE '%pg_sleep%'"))

    async def are_gone() -> bool:
        return not await watching.fetchval(OTHERS)

    request = asyncio.create_task(Patience().wait(work()))
    await until(is_under_way, "it asks the database")
    request.cancel()
    await asyncio.wait([request])
    await let_go()
    await engine.dispose()
    await until(are_gone, "no connection is open")
    await watching.close()
