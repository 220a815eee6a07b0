"""Days under load: what waits for what when one is made or dropped, and what a process that dies leaves."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres import partitions
from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.partitions import (
    DAYS_AHEAD,
    PARTITIONED,
    create_partition,
    create_partitions,
    days_ahead,
    drop_partition,
    first_uid_of,
)
from service.adapters.postgres.retention import DEAD_ROWS_MAX, PostgresRetentionStore
from service.core.deliveries.delivery import Delivery, DeliveryKey, NewDelivery
from service.core.endpoints.endpoint import Endpoint
from service.ports.errors import UnavailableError
from service.ports.store import Disposition, Recording
from tests.fakes.administration import Administration
from tests.fakes.clock import START
from tests.fakes.delivery_store import alike
from tests.fakes.events import event_of
from tests.fakes.secret_box import PlainSecretBox
from tests.fakes.settlements import settled_by

pytestmark = [pytest.mark.clock, pytest.mark.servers, pytest.mark.usefixtures("same_day")]

RETENTION_DAYS = 30
AUDIT_DAYS = 365
SIGNAL_SECONDS_MAX = 60


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url, pool_size=4)
    yield engine
    await engine.dispose()


@pytest.fixture
def store(engine: AsyncEngine) -> PostgresRetentionStore:
    return PostgresRetentionStore(engine, retention_days=RETENTION_DAYS, audit_retention_days=AUDIT_DAYS)


@pytest.fixture
def deliveries(engine: AsyncEngine) -> PostgresDeliveryStore:
    return PostgresDeliveryStore(engine, worker_name="w", lease_seconds=60)


@pytest.fixture
async def today(engine: AsyncEngine) -> datetime:
    """With the days that follow it: midnight may have come since they were made."""
    async with driver(engine) as connection:
        day = await partitions.today_of(connection)
        await create_partitions(connection)
        return day


@pytest.fixture
async def old_day(engine: AsyncEngine, today: datetime) -> AsyncIterator[datetime]:
    """A day past retention, with its partitions and an event."""
    day = today - timedelta(days=40)
    async with driver(engine) as connection:
        for table in PARTITIONED:
            await create_partition(connection, table, day)
        await _insert_event(connection, first_uid_of(day))
    yield day
    async with driver(engine) as connection:  # whatever a test left: the database is shared
        for table in PARTITIONED:
            assert await drop_partition(connection, table, day)


async def test_old_days_are_dropped_whole_and_younger_ones_stay(
    engine: AsyncEngine, store: PostgresRetentionStore, old_day: datetime, today: datetime
) -> None:
    async with driver(engine) as connection:
        await _insert_event(connection, first_uid_of(today))
        await connection.execute(
            "INSERT INTO event_keys VALUES ('o', 'old', $1, ''), ('o', 'new', $2, '')",
            *(first_uid_of(old_day), first_uid_of(today)),
        )
    assert await store.drop_days() == 0
    await store.purge()
    async with driver(engine) as connection:
        assert [row["uid"] for row in await connection.fetch("SELECT uid FROM events")] == [first_uid_of(today)]
        assert [row["event_id"] for row in await connection.fetch("SELECT event_id FROM event_keys")] == ["new"]
        assert not await _tables_of(connection, old_day)
        assert await _tables_of(connection, today + timedelta(days=DAYS_AHEAD))


async def test_two_workers_may_make_the_days_at_once(engine: AsyncEngine) -> None:
    async with driver(engine) as one, driver(engine) as other:
        # The last there is: a day later than the clock says, if midnight came since they were made.
        last = await one.fetchval("SELECT max(relname) FROM pg_class WHERE relname ~ '^attempts_[0-9]{8}$'")
        await one.execute(f"DROP TABLE {last}")
        await create_partitions(one)
        await create_partitions(other)
        assert await one.fetchval("SELECT to_regclass($1)", last) is not None


async def test_a_day_with_a_table_missing_is_not_ahead(engine: AsyncEngine, today: datetime) -> None:
    async with driver(engine) as connection:
        await create_partitions(connection)
        assert await days_ahead(connection) >= DAYS_AHEAD
        await connection.execute(f"DROP TABLE attempts_{today + timedelta(days=3):%Y%m%d}")
        assert await days_ahead(connection) == 2
        await create_partitions(connection)
        assert await days_ahead(connection) >= DAYS_AHEAD


async def test_an_event_whose_day_is_missing_is_recorded_all_the_same(
    engine: AsyncEngine, deliveries: PostgresDeliveryStore, today: datetime
) -> None:
    async with driver(engine) as connection:
        for table in PARTITIONED:
            await connection.execute(f"DROP TABLE {table}_{today:%Y%m%d}")
    recorded = await deliveries.record([Recording(UUID(int=first_uid_of(today).int + 1), event_of(), None)])
    assert recorded.dispositions == (Disposition.RECORDED,)
    async with driver(engine) as connection:
        assert await _tables_of(connection, today) == set(PARTITIONED)


@pytest.mark.parametrize("days", [-400, 9])
async def test_an_event_of_a_day_that_is_not_made_is_held_and_the_sentence_speaks_of_the_clock(
    deliveries: PostgresDeliveryStore, today: datetime, days: int
) -> None:
    day = today + timedelta(days=days)
    with pytest.raises(UnavailableError, match=rf"{day:%Y-%m-%d}.*{today:%Y-%m-%d}.*clock"):
        await deliveries.record([Recording(first_uid_of(day), event_of(), None)])


async def test_the_events_of_a_day_are_made_last(engine: AsyncEngine, today: datetime) -> None:
    """Or what is recorded meanwhile could not be settled."""
    async with driver(engine) as connection:
        for table in PARTITIONED:
            await connection.execute(f"DROP TABLE {table}_{today:%Y%m%d}")
        await create_partitions(connection)
        newest = "SELECT relname FROM pg_class WHERE relname = ANY ($1) ORDER BY oid DESC LIMIT 1"
        assert await connection.fetchval(newest, _names(today)) == f"events_{today:%Y%m%d}"


# ---------------------------------------------------------------------- who waits for whom


@pytest.fixture(params=["small batches", "any batches"])
async def impatient(database_url: str, request: pytest.FixtureRequest) -> AsyncIterator[AsyncEngine]:
    """What runs on it gives up as soon as it waits for a lock."""
    engine = connect(database_url, pool_size=1, for_small_batches=request.param == "small batches")
    async with driver(engine) as connection:
        await connection.execute("SET lock_timeout = 1")
    yield engine
    await engine.dispose()


@pytest.mark.parametrize("reads", ["all days", "the old day"])
@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read"])
async def test_while_a_long_reader_holds_up_a_drop_nobody_waits_behind_it(
    engine: AsyncEngine,
    impatient: AsyncEngine,
    old_day: datetime,
    today: datetime,
    reads: str,
    isolation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The drop may wait as long as it likes here; the others give up after a millisecond, and none does."""
    monkeypatch.setattr(partitions, "DETACH_MILLISECONDS_MAX", 1000 * SIGNAL_SECONDS_MAX)
    administration = Administration(engine, PlainSecretBox())
    await administration.create_organization("org_1")
    added = await administration.add_endpoint("org_1", "https://a.example/", ["message.sent"])
    endpoint = Endpoint(added.id, "org_1", "https://a.example/", ())
    async with driver(engine) as reader, driver(engine) as dropper, driver(engine) as watcher:
        for number, table in enumerate(PARTITIONED):
            reading = reader.transaction(isolation=isolation)
            await reading.start()
            column = "uid" if table == "events" else "event_uid"
            name = table if reads == "all days" else f"{table}_{old_day:%Y%m%d}"
            await reader.execute(f"SELECT FROM {name} WHERE {column} > $1", UUID(int=0))
            dropping = asyncio.create_task(drop_partition(dropper, table, old_day))
            await _until_waiting(watcher, dropper)
            await _deliver(impatient, UUID(int=first_uid_of(today).int + 1 + number), endpoint)
            assert not dropping.done()
            await reading.commit()
            assert await dropping


async def _deliver(engine: AsyncEngine, uid: UUID, endpoint: Endpoint) -> None:
    """An event is recorded, claimed, tried again and delivered; then somebody reads every day."""
    event = event_of(id=f"evt_{uid}")
    delivery = Delivery(DeliveryKey(uid, 1), "org_1", event.id, event.type, event.body, endpoint.id, START)
    store = PostgresDeliveryStore(engine, worker_name="w", lease_seconds=60)
    new = NewDelivery(delivery, endpoint, wants_lease=False)
    assert (await store.record([Recording(uid, event, None, (new,))])).dispositions == (Disposition.RECORDED,)
    for status, attempts in ((500, 1), (200, 2)):
        (claim,) = await store.claim_due(alike(10))
        assert await store.settle([settled_by(claim, status)]) == [True]
        async with driver(engine) as connection:
            await connection.execute("UPDATE open_deliveries SET next_attempt_at = now()")
            assert await connection.fetchval("SELECT count(*) FROM attempts WHERE event_uid = $1", uid) == attempts
            assert await connection.fetchval("SELECT count(*) FROM deliveries") > 0
            assert await connection.fetchval("SELECT count(*) FROM events") > 0


async def test_what_a_drop_waits_for_is_bounded_and_the_next_round_goes_on(
    engine: AsyncEngine, store: PostgresRetentionStore, old_day: datetime
) -> None:
    async with driver(engine) as reader:
        reading = reader.transaction()
        await reading.start()
        await reader.execute("SELECT FROM events")
        assert await store.drop_days() == 1
        assert await store.drop_days() == 1  # this one finds what the first began
        await reading.commit()
    assert await store.drop_days() == 0
    async with driver(engine) as connection:
        assert not await _tables_of(connection, old_day)
        assert await connection.fetchval("SHOW lock_timeout") == "0"


async def test_no_connection_keeps_the_setting_of_a_drop_that_was_cancelled(
    database_url: str, old_day: datetime, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "DETACH_MILLISECONDS_MAX", 1000 * SIGNAL_SECONDS_MAX)
    lone = connect(database_url, pool_size=1)
    async with driver(engine) as reader, driver(engine) as watcher:
        reading = reader.transaction()
        await reading.start()
        await reader.execute("SELECT FROM events")
        async with driver(lone) as connection:
            process_id = connection.get_server_pid()
        dropping = asyncio.create_task(
            PostgresRetentionStore(lone, retention_days=RETENTION_DAYS, audit_retention_days=AUDIT_DAYS).drop_days()
        )
        await _until_waiting(watcher, process_id)
        dropping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dropping
        async with driver(lone) as connection:
            assert await connection.fetchval("SHOW lock_timeout") == "0"
        await reading.commit()
    await lone.dispose()


# ---------------------------------------------------------------------- dying


@pytest.mark.parametrize("steps", range(7))
async def test_wherever_a_process_dies_the_next_round_ends_it_right(
    engine: AsyncEngine, store: PostgresRetentionStore, old_day: datetime, steps: int
) -> None:
    """The lines of SQL that a drop consists of: a process dies after any number of them."""
    async with driver(engine) as connection:
        await _open_delivery(connection, first_uid_of(old_day))
        await connection.execute("INSERT INTO event_keys VALUES ('o', 'e', $1, '')", first_uid_of(old_day))
    assert sum(each.delivery_count for each in await store.expire(10)) == 1
    async with driver(engine) as connection:
        assert await connection.fetchval("SELECT reason FROM final_deliveries") == "past_retention"
        lines = [
            line
            for table in ("events", "final_deliveries", "attempts")
            for name in (f"{table}_{old_day:%Y%m%d}",)
            for line in (f"ALTER TABLE {table} DETACH PARTITION {name} CONCURRENTLY", f"DROP TABLE {name}")
        ]
        for line in lines[:steps]:
            await connection.execute(line)
    assert await store.drop_days() == 0
    await store.purge()
    async with driver(engine) as connection:
        assert not await _tables_of(connection, old_day)
        for table in ("open_deliveries", "event_keys", "deliveries"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - names of ours


async def test_what_was_replayed_while_its_day_was_dropped_ends_before_its_history_goes(
    engine: AsyncEngine, store: PostgresRetentionStore, old_day: datetime
) -> None:
    """The replay's transaction began before the drop, which waits for its commit, and then sees it."""
    async with driver(engine) as replaying, driver(engine) as watcher:
        transaction = replaying.transaction()
        await transaction.start()
        await replaying.execute("SELECT FROM events")
        await _open_delivery(replaying, first_uid_of(old_day))
        dropping = asyncio.create_task(store.drop_days())
        await _until_somebody_waits(watcher)
        await transaction.commit()
        assert await dropping == 1
    async with driver(engine) as connection:
        assert await _tables_of(connection, old_day) >= {"final_deliveries", "attempts"}
    assert len(await store.expire(10)) == 1
    async with driver(engine) as connection:
        assert await connection.fetchval("SELECT state FROM deliveries") == "dead"
    assert await store.drop_days() == 0


async def test_a_delivery_whose_day_was_dropped_by_hand_ends_all_the_same(
    engine: AsyncEngine, store: PostgresRetentionStore, old_day: datetime
) -> None:
    async with driver(engine) as connection:
        await _open_delivery(connection, first_uid_of(old_day))
        for table in PARTITIONED:
            assert await drop_partition(connection, table, old_day)
    (expired,) = await store.expire(10)
    assert (expired.endpoint_id, expired.delivery_count) == ("ep", 1)
    async with driver(engine) as connection:
        assert await connection.fetchval("SELECT count(*) FROM open_deliveries") == 0


async def test_what_ends_leaves_no_place_in_a_line_behind(
    engine: AsyncEngine, store: PostgresRetentionStore, old_day: datetime, today: datetime
) -> None:
    async with driver(engine) as connection:
        for uid in (first_uid_of(old_day), first_uid_of(today)):
            await _open_delivery(connection, uid)
        await connection.execute(
            """INSERT INTO ordered_deliveries (event_uid, subscription_id, replay_number, endpoint_id, line, place)
               SELECT event_uid, subscription_id, replay_number, endpoint_id, gen_random_uuid(), now()
                 FROM open_deliveries"""
        )
    assert len(await store.expire(10)) == 1
    async with driver(engine) as connection:
        left = await connection.fetch("SELECT event_uid FROM ordered_deliveries")
    assert [row["event_uid"] for row in left] == [first_uid_of(today)]


# ---------------------------------------------------------------------- keys


async def test_keys_are_deleted_in_batches_each_a_commit(
    engine: AsyncEngine, store: PostgresRetentionStore, old_day: datetime, today: datetime
) -> None:
    async with driver(engine) as connection:
        await connection.execute(
            """INSERT INTO event_keys
               SELECT 'o', n::text, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, ''
                 FROM generate_series(1, 5000) AS n""",
        )
        await connection.execute("INSERT INTO event_keys VALUES ('o', 'new', $1, '')", first_uid_of(today))
        async with connection.transaction():  # one that is locked is left for the next round, and holds up no other
            await connection.execute("SELECT FROM event_keys WHERE event_id = '17' FOR UPDATE")
            await store.drop_days()
            await store.purge()
            left = await connection.fetch("SELECT event_id FROM event_keys ORDER BY event_id")
            assert [row["event_id"] for row in left] == ["17", "new"]


# ---------------------------------------------------------------------- dead rows


async def test_a_table_full_of_dead_rows_is_vacuumed_once_in_a_while(
    engine: AsyncEngine, store: PostgresRetentionStore, today: datetime, postgres_server_url: str
) -> None:
    async with driver(engine) as connection:
        await connection.execute("VACUUM open_deliveries")
        await _leave_dead_rows(connection, first_uid_of(today), DEAD_ROWS_MAX + 1)
        assert "open_deliveries" not in await store.vacuum()  # it was, just now
        await _forget_statistics(postgres_server_url, engine)
        await _leave_dead_rows(connection, first_uid_of(today), DEAD_ROWS_MAX + 1)
        assert "open_deliveries" in await store.vacuum()
        dead = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'open_deliveries'"
        assert await connection.fetchval(dead) == 0
        assert "open_deliveries" not in await store.vacuum()


async def test_a_vacuum_waits_for_no_other(
    engine: AsyncEngine, store: PostgresRetentionStore, today: datetime, postgres_server_url: str
) -> None:
    async with driver(engine) as connection:
        await _forget_statistics(postgres_server_url, engine)
        await _leave_dead_rows(connection, first_uid_of(today), DEAD_ROWS_MAX + 1)
        async with connection.transaction():
            await connection.execute("LOCK TABLE open_deliveries IN SHARE UPDATE EXCLUSIVE MODE")  # as VACUUM does
            assert "open_deliveries" in await store.vacuum()


# ---------------------------------------------------------------------- what these tests do to the database


async def _forget_statistics(server_url: str, engine: AsyncEngine) -> None:
    """Of open_deliveries: as a superuser, for nobody else may."""
    url = make_url(server_url).set(database=engine.url.database)
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    await connection.execute("SELECT pg_stat_reset_single_table_counters('open_deliveries'::regclass)")
    await connection.close()


async def _leave_dead_rows(connection: asyncpg.Connection, uid: UUID, count: int) -> None:
    await connection.execute(
        """INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id, event_type,
                                        state, claims_made)
           SELECT $1, n, 'o', 'ep', 'e', 't', 'pending', 0 FROM generate_series(1, $2::int) AS n""",
        *(uid, count),
    )
    await connection.execute("DELETE FROM open_deliveries")
    await connection.execute("SELECT pg_stat_force_next_flush()")  # else it is told within a second


async def _tables_of(connection: asyncpg.Connection, day: datetime) -> set[str]:
    rows = await connection.fetch("SELECT relname FROM pg_class WHERE relname = ANY ($1)", _names(day))
    return {row["relname"].rpartition("_")[0] for row in rows}


def _names(day: datetime) -> list[str]:
    return [f"{table}_{day:%Y%m%d}" for table in PARTITIONED]


async def _insert_event(connection: asyncpg.Connection, uid: UUID) -> None:
    await connection.execute(
        """INSERT INTO events (uid, organization_id, event_id, event_type, occurred_at, is_test, body)
           VALUES ($1, 'o', 'e', 't', now(), false, '')""",
        uid,
    )


async def _open_delivery(connection: asyncpg.Connection, uid: UUID) -> None:
    await connection.execute(
        """INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id, event_type,
                                        state, claims_made, created_at)
           VALUES ($1, 1, 'o', 'ep', 'e', 't', 'pending', 0, $2)""",
        *(uid, datetime(2001, 1, 1, tzinfo=UTC)),
    )


async def _until_waiting(watcher: asyncpg.Connection, waiter: asyncpg.Connection | int) -> None:
    process_id = waiter if isinstance(waiter, int) else waiter.get_server_pid()
    async with asyncio.timeout(SIGNAL_SECONDS_MAX):
        while not await watcher.fetchval(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)", process_id
        ):
            pass


async def _until_somebody_waits(watcher: asyncpg.Connection) -> None:
    async with asyncio.timeout(SIGNAL_SECONDS_MAX):
        while not await watcher.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            pass
