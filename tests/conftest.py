"""The servers the tests share: one PostgreSQL and one broker per run of a worker, a clean database per test.

TEST_DATABASE_URL names a PostgreSQL where databases and roles may be made, TEST_AMQP_URL a RabbitMQ; without them the
embedded ones are used. As in ``docker-compose.yml``, one role owns and migrates the database, and the service connects
as another, which has only what ``posthorn migrate --grant-to`` gives it.
"""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import hypothesis
import psutil
import pytest
from sqlalchemy import make_url

from service.adapters.postgres.schema import migrate_schema
from service.embedded.amqp import LoopbackBroker
from service.embedded.postgres import EmbeddedPostgres
from tests.end_to_end.waiting import until

# On a busy machine an example is slow, and so is making one up.
hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("tests")

NEVER_EMPTIED = "alembic_version"
DELETED_MAX = 2_000
MIDNIGHT_IS_NEAR = timedelta(seconds=15)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for a server: by its fixtures, so that none is forgotten."""
    for item in items:
        if {"postgres_server_url", "amqp_url"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("servers")


@pytest.fixture(scope="session")
def postgres_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in which databases may be made and dropped. When ours stops, no process of it may be left."""
    given = os.environ.get("TEST_DATABASE_URL", "")
    if given:
        yield given
        return
    directory = tmp_path_factory.mktemp("postgres")
    settings = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB"}
    with EmbeddedPostgres(directory, settings) as server:
        ours = psutil.Process(server.process_id)
        yield server.url
        family = [ours, *ours.children(recursive=True)]
    _, alive = psutil.wait_procs(family, timeout=100)
    assert not alive, f"PostgreSQL processes outlived the tests: {alive}"
    _assert_no_process_uses(directory)


def _assert_no_process_uses(directory: Path) -> None:
    for process in psutil.process_iter(["cmdline"]):
        assert str(directory) not in (process.info["cmdline"] or []), f"{process} still uses {directory}"


@dataclass(frozen=True, slots=True)
class MigratedDatabase:
    """A database, as the service's role and as the role that owns it see it."""

    url: str
    owner_url: str


@pytest.fixture(scope="session")
async def migrated_database(postgres_server_url: str) -> AsyncIterator[MigratedDatabase]:
    """A database at the head of the migrations, made for this worker of the run, dropped after it."""
    name = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'only')}_{secrets.token_hex(4)}"
    owner, service, password = f"{name}_owner", f"{name}_service", secrets.token_hex(16)
    url = make_url(postgres_server_url).set(database=name, password=password)
    made = MigratedDatabase(
        *(url.set(username=role).render_as_string(hide_password=False) for role in (service, owner))
    )
    for role in (owner, service):
        await _on_server(postgres_server_url, f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{password}'")
    await _on_server(postgres_server_url, f'GRANT "{service}" TO "{owner}"')
    await _on_server(postgres_server_url, f'CREATE DATABASE "{name}" OWNER "{owner}"')
    try:
        await migrate_schema(made.owner_url, service_role=service)
        yield made
    finally:
        await _on_server(postgres_server_url, f'DROP DATABASE "{name}" WITH (FORCE)')
        await _on_server(postgres_server_url, f'DROP ROLE "{owner}", "{service}"')


async def _on_server(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def migrated_database_url(migrated_database: MigratedDatabase) -> str:
    """The migrated database, empty when the module begins, for the service's role."""
    await _empty_for_tests(migrated_database)
    return migrated_database.url


@pytest.fixture
async def database_url(migrated_database: MigratedDatabase, request: pytest.FixtureRequest) -> str:
    """The migrated database, empty, for the service's role."""
    assert request.node.get_closest_marker("servers"), "it asks for a server in a way that is not seen beforehand"
    await _empty_for_tests(migrated_database)
    return migrated_database.url


async def _empty_for_tests(database: MigratedDatabase) -> None:
    connection = await asyncpg.connect(database.owner_url)
    try:
        await _empty(connection)
    finally:
        await connection.close()


@pytest.fixture
def owner_database_url(migrated_database: MigratedDatabase, database_url: str) -> str:
    """The same for the role that migrates it: for what a test does that no service may."""
    return migrated_database.owner_url


# With a foreign key before what it refers to, for any depth of them.
TABLES = """
WITH RECURSIVE own AS (
    SELECT oid, relname FROM pg_class
     WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace AND relname <> $1
), ranked AS (
    SELECT oid, 0 AS rank FROM own
     UNION
    SELECT c.confrelid, ranked.rank + 1 FROM ranked JOIN pg_constraint c ON c.conrelid = ranked.oid AND c.contype = 'f'
)
SELECT relname FROM own JOIN ranked USING (oid) GROUP BY relname ORDER BY max(rank), relname
"""


async def _empty(connection: asyncpg.Connection) -> None:
    """Delete every row. TRUNCATE makes new files for some 200 partitions and indexes, which takes a second."""
    tables = [row["relname"] for row in await connection.fetch(TABLES, NEVER_EMPTIED)]
    await connection.execute("ALTER TABLE audit_log DISABLE TRIGGER USER")  # entries are kept from everybody else
    deleted = [int((await connection.execute(f'DELETE FROM "{table}"')).split()[1]) for table in tables]  # noqa: S608
    if sum(deleted) > DELETED_MAX:  # else the next test finds tables that are large, and empty
        await connection.execute(f"TRUNCATE {', '.join(tables)}")
    await connection.execute("ALTER TABLE audit_log ENABLE TRIGGER USER")
    await connection.execute(
        "SELECT setval(format('%I', sequencename)::regclass, 1, false) FROM pg_sequences WHERE schemaname = 'public'"
    )


@pytest.fixture
async def amqp_url() -> AsyncIterator[str]:
    """A broker: a real one where TEST_AMQP_URL names it, else the loopback endpoint, fresh for each test."""
    given = os.environ.get("TEST_AMQP_URL", "")
    if given:
        yield given
        return
    async with LoopbackBroker() as broker:
        yield broker.url


@pytest.fixture
async def same_day() -> None:
    """Midnight does not come while the test runs, for what reckons in days: where it is near, it is waited for."""
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    if midnight - now < MIDNIGHT_IS_NEAR:
        await until(lambda: datetime.now(UTC) >= midnight, "midnight")
