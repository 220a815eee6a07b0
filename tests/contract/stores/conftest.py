"""The databases that the store suites run against: the fake, and PostgreSQL."""

from collections.abc import AsyncIterator

import pytest

from service.adapters.postgres.engine import connect
from tests.contract.stores.rig import Bench, Database, InMemory, InPostgres


@pytest.fixture
def in_memory() -> InMemory:
    return InMemory()


@pytest.fixture
async def in_postgres(database_url: str) -> AsyncIterator[InPostgres]:
    engine = connect(database_url)
    yield InPostgres(engine)
    await engine.dispose()


@pytest.fixture(params=["in_memory", pytest.param("in_postgres", marks=pytest.mark.servers)])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def bench(database: Database) -> Bench:
    await database.administration.create_organization("org_1")
    return Bench(database)
