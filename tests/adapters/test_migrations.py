"""An upgrade of a database that is in use: its rows stay, and new ones obey the new rules."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from alembic import command
from sqlalchemy import make_url

from service.adapters.postgres.day_indexes import index_days
from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.engine import connect
from service.adapters.postgres.partitions import (
    create_partition,
    create_partitions,
    drop_partition,
    first_uid_of,
    today_of,
)
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


async def _event(connection: asyncpg.Connection, day: datetime) -> None:
    await connection.execute(
        """INSERT INTO events (uid, organization_id, event_id, event_type, occurred_at, is_test, body)
           VALUES ($1, 'org_1', 'evt_1', 'message.sent', $2, false, '')""",
        first_uid_of(day),
        day,
    )


async def _days_of_0023(url: str) -> tuple[asyncpg.Connection, datetime]:
    """A database with an event on each of some days; and today."""
    await _upgrade(url, "0023")
    connection = await asyncpg.connect(url)
    await create_partitions(connection)
    today = await today_of(connection)
    for offset in (-1, 0, 1):
        await _event(connection, today + timedelta(days=offset))
    return connection, today


async def _assert_every_day_has_its_indexes(connection: asyncpg.Connection) -> None:
    for column in ("external_id", "brand_id", "campaign_id", "project_id"):
        index = f"events_by_{column.removesuffix('_id') if column != 'external_id' else column}"
        days = await connection.fetch(
            """SELECT inhrelid::regclass::text AS day,
                      ARRAY(SELECT indisvalid AND EXISTS (SELECT FROM pg_inherits attached
                                                           WHERE attached.inhrelid = indexrelid
                                                             AND attached.inhparent = $1::text::regclass)
                              FROM pg_index WHERE indrelid = inhrelid
                               AND pg_get_indexdef(indexrelid) LIKE '%' || $2 || '%') AS are_valid_and_attached
                 FROM pg_inherits WHERE inhparent = 'events'::regclass""",
            index,
            column,
        )
        assert len(days) > 3
        assert {row["day"]: row["are_valid_and_attached"] for row in days} == {row["day"]: [True] for row in days}
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = $1::text::regclass"
        assert await connection.fetchval(valid, index)


async def test_days_from_before_get_their_indexes_beside_those_who_write(empty_database_url: str) -> None:
    connection, today = await _days_of_0023(empty_database_url)
    await _upgrade(empty_database_url, "head")
    await _event(connection, today + timedelta(days=2))  # a day without the index works as the others do
    await create_partition(connection, "events", today + timedelta(days=20))
    other = await asyncpg.connect(empty_database_url)
    async with asyncio.timeout(60):  # two deployments at once
        await asyncio.gather(index_days(connection), index_days(other))
    await other.close()
    await _assert_every_day_has_its_indexes(connection)
    await create_partition(connection, "events", today + timedelta(days=21))
    await migrate_schema(empty_database_url)
    await _assert_every_day_has_its_indexes(connection)
    assert await connection.fetchval("SELECT count(*) FROM events") == 4
    await connection.close()


async def test_an_index_whose_making_was_interrupted_is_made_anew(empty_database_url: str) -> None:
    connection, today = await _days_of_0023(empty_database_url)
    await _upgrade(empty_database_url, "head")
    indexing = await asyncpg.connect(empty_database_url)
    left = "SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indexrelid::regclass::text LIKE 'events_2%'"
    async with asyncio.timeout(60), connection.transaction():
        await _event(connection, today + timedelta(days=2))  # whom the index of this day waits for
        interrupted = asyncio.create_task(index_days(indexing))
        while not await connection.fetchval(left):
            pass
        interrupted.cancel()
        with pytest.raises(asyncio.CancelledError):
            await interrupted
    assert await connection.fetchval(left) == 1
    await indexing.close()
    await migrate_schema(empty_database_url)
    await _assert_every_day_has_its_indexes(connection)
    await connection.close()


async def _with_one_day_left_to_index(url: str) -> tuple[asyncpg.Connection, datetime]:
    """A database whose first index was interrupted at its last day; and that day, which is the oldest."""
    connection, today = await _days_of_0023(url)
    oldest = today - timedelta(days=5)
    await create_partition(connection, "events", oldest)
    await _upgrade(url, "head")
    indexing, looking = await asyncpg.connect(url), await asyncpg.connect(url)  # building waits for whoever looks, too
    begun = "SELECT to_regclass($1) IS NOT NULL"
    async with asyncio.timeout(60), connection.transaction():
        await _event(connection, oldest)  # whom the index of this day waits for
        interrupted = asyncio.create_task(index_days(indexing))
        while not await looking.fetchval(begun, f"events_{oldest:%Y%m%d}_by_external_id"):
            pass
        interrupted.cancel()
        with pytest.raises(asyncio.CancelledError):
            await interrupted
    await indexing.close()
    await looking.close()
    return connection, oldest


async def test_an_index_is_valid_though_retention_dropped_the_last_day_that_lacked_it(empty_database_url: str) -> None:
    connection, oldest = await _with_one_day_left_to_index(empty_database_url)
    assert await drop_partition(connection, "events", oldest)
    await migrate_schema(empty_database_url)
    await _assert_every_day_has_its_indexes(connection)
    await connection.close()


async def test_a_day_that_retention_drops_while_it_is_to_be_indexed_is_passed_over(empty_database_url: str) -> None:
    connection, oldest = await _with_one_day_left_to_index(empty_database_url)
    waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)"
    indexing = await asyncpg.connect(empty_database_url)
    async with asyncio.timeout(60):
        async with connection.transaction():
            await connection.execute(f"DROP TABLE events_{oldest:%Y%m%d}")
            going_on = asyncio.create_task(index_days(indexing))
            while not await connection.fetchval(waiting, indexing.get_server_pid()):
                assert not going_on.done()
        await going_on
    await indexing.close()
    await _assert_every_day_has_its_indexes(connection)
    await connection.close()


async def test_urls_from_before_stay_in_clear_and_a_process_of_the_last_release_adds_some(
    empty_database_url: str,
) -> None:
    await _upgrade(empty_database_url, "0022")
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("INSERT INTO organizations (id) VALUES ('org_1')")
    add = "INSERT INTO endpoints (id, organization_id, url) VALUES ($1, $2, $3)"
    await connection.execute(add, "ep_1", "org_1", "https://a.example/?t=x")
    await migrate_schema(empty_database_url)

    await connection.execute("INSERT INTO organizations (id) VALUES ('org_2')")
    for organization in ("org_1", "org_2"):
        await connection.execute(add, f"ep_of_{organization}", organization, "https://b.example/?t=x")
    seals = await connection.fetch("SELECT id, seals_urls FROM organizations ORDER BY id")
    assert [tuple(row) for row in seals] == [("org_1", False), ("org_2", True)]
    kept = await connection.fetch("SELECT id, url, sealed_url, version FROM endpoints WHERE organization_id = 'org_1'")
    assert {tuple(row) for row in kept} == {
        ("ep_1", "https://a.example/?t=x", None, 1),
        ("ep_of_org_1", "https://b.example/?t=x", None, 1),
    }
    await connection.close()
