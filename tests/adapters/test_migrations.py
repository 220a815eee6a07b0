"""An upgrade of a database that is in use: its rows stay, and new ones obey the new rules."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
from alembic import command
from sqlalchemy import make_url

from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.engine import connect
from service.adapters.postgres.partitions import create_partitions, first_uid_of
from service.adapters.postgres.schema import _alembic, migrate_schema
from service.core.endpoints.directory import BEGINNING

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


async def test_wider_sets_of_styles_and_reasons_are_not_checked_against_every_row(empty_database_url: str) -> None:
    await _upgrade(empty_database_url, "0016")
    connection = await asyncpg.connect(empty_database_url)
    names = ["endpoints_signature_style_check", "delivery_reason_check"]
    rows = await connection.fetch("SELECT convalidated FROM pg_constraint WHERE conname = ANY($1::text[])", names)
    assert [row["convalidated"] for row in rows] == [False, False]
    await connection.close()


async def test_endpoints_from_before_are_read_and_a_process_of_the_last_release_changes_them_visibly(
    empty_database_url: str,
) -> None:
    await _upgrade(empty_database_url, "0003")
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("INSERT INTO organizations (id, directory_version) VALUES ('org_1', 40)")
    await connection.execute(
        """INSERT INTO endpoints (id, organization_id, url)
           SELECT 'ep_' || n, 'org_1', 'https://a.example/' || n FROM generate_series(1, 3) n"""
    )
    await migrate_schema(empty_database_url)

    engine = connect(empty_database_url)
    store = PostgresSubscriptionStore(engine)
    (page,) = await store.load({"org_1": BEGINNING}, endpoints_max=10)
    assert (page.version, [each.id for each in page.endpoints]) == (40, ["ep_1", "ep_2", "ep_3"])
    async with connection.transaction():  # it knows nothing of the new column
        await connection.execute("UPDATE organizations SET directory_version = directory_version + 1")
        await connection.execute("UPDATE endpoints SET is_paused = true WHERE id = 'ep_2'")
        await connection.execute(
            """INSERT INTO subscriptions (organization_id, endpoint_id, event_type, target_url)
               VALUES ('org_1', 'ep_3', 'message.sent', 'https://a.example/3')"""
        )
    (changed,) = await store.load({"org_1": page.until}, endpoints_max=10)
    assert (changed.version, changed.is_last) == (41, True)
    assert {each.id: (each.is_paused, len(each.subscriptions)) for each in changed.endpoints} == {
        "ep_2": (True, 0),
        "ep_3": (False, 1),
    }
    await engine.dispose()
    await connection.close()
