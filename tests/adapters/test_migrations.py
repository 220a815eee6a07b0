"""An upgrade of a database that is in use: its rows stay, and new ones obey the new rules."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
from alembic import command
from sqlalchemy import make_url

from service.adapters.postgres.partitions import create_partitions, first_uid_of
from service.adapters.postgres.schema import _alembic, migrate_schema

pytestmark = [pytest.mark.clock, pytest.mark.servers]


@pytest.fixture
async def empty_database_url(postgres_server_url: str) -> AsyncIterator[str]:
    name = f"test_migrations_{secrets.token_hex(4)}"
    server = await asyncpg.connect(postgres_server_url)
    await server.execute(f'CREATE DATABASE "{name}"')
    yield make_url(postgres_server_url).set(database=name).render_as_string(hide_password=False)
    await server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await server.close()


async def _upgrade(url: str, revision: str) -> None:
    await asyncio.to_thread(command.upgrade, _alembic(url.replace("://", "+asyncpg://")), revision)


async def _attempt(connection: asyncpg.Connection, number: int, status: int) -> None:
    await connection.execute(
        """INSERT INTO attempts (event_uid, subscription_id, replay_number, number, claim_number, started_at,
                                 duration_ms, outcome, reason, status, is_counted, detail, reply)
           VALUES ($1, 1, 0, $2, 1, now(), 1, 'failed', 'http_status', $3, true, '', '')""",
        first_uid_of(datetime.now(UTC)),
        number,
        status,
    )


async def test_every_status_can_be_recorded_on_days_before_and_after_the_upgrade(empty_database_url: str) -> None:
    await _upgrade(empty_database_url, "0002")
    connection = await asyncpg.connect(empty_database_url)
    await create_partitions(connection)
    await _attempt(connection, 1, 503)
    with pytest.raises(asyncpg.CheckViolationError):
        await _attempt(connection, 2, 99)

    later = await connection.fetchval("SELECT max(relname) FROM pg_class WHERE relname ~ '^attempts_[0-9]{8}$'")
    await connection.execute(f"DROP TABLE {later}")  # it is made anew, after the upgrade
    await migrate_schema(empty_database_url)

    await _attempt(connection, 2, 99)
    await _attempt(connection, 3, 0)
    for status in (-1, 1000):
        with pytest.raises(asyncpg.CheckViolationError):
            await _attempt(connection, 4, status)
    assert [row[0] for row in await connection.fetch("SELECT status FROM attempts ORDER BY number")] == [503, 99, 0]
    rules = await connection.fetch(
        """SELECT conrelid::regclass::text AS name, pg_get_constraintdef(oid) AS rule FROM pg_constraint
            WHERE contype = 'c' AND pg_get_constraintdef(oid) LIKE '%status%' AND conrelid::regclass::text ~ '^attempts'"""
    )
    tables = await connection.fetch("SELECT relname FROM pg_class WHERE relname ~ '^attempts(_[0-9]{8})?$'")
    assert {row["name"] for row in rules} == {row["relname"] for row in tables}
    assert later in {row["name"] for row in rules}
    assert {row["rule"].removesuffix(" NOT VALID") for row in rules} == {"CHECK (((status >= 0) AND (status <= 999)))"}
    await connection.close()
