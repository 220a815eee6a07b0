"""What the conformance suite cannot ask of a fake: errors, schema, days, plans, locks."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries import statements
from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.partitions import DAYS_AHEAD, PARTITIONED, create_partitions, first_uid_of
from service.adapters.postgres.schema import is_migrated, migrate_schema
from service.core.deliveries.attempt import attempt_of
from service.core.deliveries.delivery import FINAL_STATES, OPEN_STATES, Delivery, DeliveryKey, Lease
from service.core.deliveries.outcome import Accepted, OutcomeKind
from service.core.deliveries.request import Reply
from service.core.deliveries.settlement import Accept, Settled
from service.core.endpoints.endpoint import Endpoint
from service.core.endpoints.gate import GateKind
from service.core.reason import Reason
from service.ports.errors import RefusedError, UnavailableError
from tests.fakes.administration import Administration
from tests.fakes.secret_box import PlainSecretBox
from webhook_signature.styles import STYLES

pytestmark = pytest.mark.clock

ENDPOINT = Endpoint("ep_01234", "o", "https://a.example/", ())


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url, pool_size=2)
    yield engine
    await engine.dispose()


@pytest.mark.parametrize(
    ("changed", "to"), [("/[^/]+$", "/no_such_database"), ("//[^@]+@", "//nobody:wrong@"), (":[0-9]+/", ":1/")]
)
async def test_a_login_that_fails_can_be_mended_and_blames_no_event(database_url: str, changed: str, to: str) -> None:
    away = connect(re.sub(changed, to, database_url), pool_size=1)
    with pytest.raises(UnavailableError):
        await is_migrated(away)
    await away.dispose()


async def test_only_the_rows_themselves_are_refused(engine: AsyncEngine) -> None:
    for statement in ("SELECT 'x'::int", "SELECT 1/0", "INSERT INTO organizations (id) VALUES (NULL)"):
        with pytest.raises(RefusedError):
            async with driver(engine) as connection:
                await connection.execute(statement)
    for statement in ("SELECT * FROM no_such_table", "SELEC", "SELECT no_such_function()"):
        with pytest.raises(UnavailableError):
            async with driver(engine) as connection:
                await connection.execute(statement)


async def test_a_cut_connection_is_not_handed_out_again(engine: AsyncEngine) -> None:
    with pytest.raises(UnavailableError):
        async with driver(engine) as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    for _ in range(3):
        async with driver(engine) as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_a_connection_that_was_told_it_ends_is_given_up(database_url: str) -> None:
    """PostgreSQL restarts, an idle connection hears of it, and the next query is already on its way."""
    engine = connect(database_url, pool_size=1)
    processes = []
    with pytest.raises(UnavailableError):  # noqa: PT012 - the error must come from inside
        async with driver(engine) as connection:
            processes.append(await connection.fetchval("SELECT pg_backend_pid()"))
            raise asyncpg.InternalClientError("cannot switch to state 11")
    async with driver(engine) as connection:
        processes.append(await connection.fetchval("SELECT pg_backend_pid()"))
    await engine.dispose()
    assert len(set(processes)) == 2


async def test_an_event_whose_day_is_missing_waits(engine: AsyncEngine) -> None:
    uid = first_uid_of(datetime(2001, 1, 1, tzinfo=UTC))
    with pytest.raises(UnavailableError, match="no partition"):
        async with driver(engine) as connection:
            await _insert_event(connection, uid)


async def test_migrating_twice_changes_nothing(database_url: str, engine: AsyncEngine) -> None:
    before = await _schema(engine)
    await migrate_schema(database_url)
    assert await is_migrated(engine)
    assert await _schema(engine) == before


async def test_the_closed_sets_are_those_of_the_code(engine: AsyncEngine) -> None:
    async with driver(engine) as connection:
        rows = await connection.fetch(
            """SELECT coalesce(t.typname, r.relname) AS name, pg_get_constraintdef(c.oid) AS rule FROM pg_constraint c
                 LEFT JOIN pg_type t ON t.oid = c.contypid LEFT JOIN pg_class r ON r.oid = c.conrelid
                WHERE c.contype = 'c' AND (t.typname IN ('delivery_reason', 'attempt_outcome')
                   OR c.conname IN ('open_deliveries_state_check', 'final_deliveries_state_check'))
                  AND coalesce(r.relkind, 'r') <> 'r'
                   OR c.conname IN ('open_deliveries_state_check', 'gates_kind_check')
                   OR t.typname IN ('delivery_reason', 'attempt_outcome')"""
        )
    sets = {row["name"]: set(re.findall(r"'([a-z_]+)'::text", row["rule"])) for row in rows}
    assert sets == {
        "delivery_reason": set(Reason),
        "attempt_outcome": set(OutcomeKind),
        "open_deliveries": set(OPEN_STATES),
        "final_deliveries": set(FINAL_STATES),
        "gates": set(GateKind),
    }


async def test_days_are_made_ahead_and_dropped_whole_past_retention(engine: AsyncEngine) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    old = first_uid_of(today - timedelta(days=40))
    async with driver(engine) as connection:
        for table in PARTITIONED:
            name = f"{table}_{today - timedelta(days=40):%Y%m%d}"
            until = first_uid_of(today - timedelta(days=39))
            await connection.execute(
                f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ('{old}') TO ('{until}')"
            )
        await _insert_event(connection, old)
        await _insert_event(connection, first_uid_of(today))
        await connection.execute(
            "INSERT INTO event_keys VALUES ('o', 'old', $1, ''), ('o', 'new', $2, '')", old, first_uid_of(today)
        )
        for event_uid in (old, first_uid_of(today)):
            await connection.execute(
                """INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id,
                                                event_type, state, claims_made)
                   VALUES ($1, 1, 'o', 'ep', 'e', 't', 'pending', 0)""",
                event_uid,
            )
    await PostgresDeliveryStore(engine, worker_name="w", lease_seconds=60, retention_days=30).keep_partitions()
    async with driver(engine) as connection:
        for table in ("events", "open_deliveries", "event_keys"):
            column = "uid" if table == "events" else "event_uid"
            rows = await connection.fetch(f"SELECT {column} FROM {table}")  # noqa: S608 - names of ours
            assert [row[0] for row in rows] == [first_uid_of(today)]
        names = {row["relname"] for row in await connection.fetch("SELECT relname FROM pg_class WHERE relkind = 'r'")}
    assert f"events_{today - timedelta(days=40):%Y%m%d}" not in names
    assert all(f"{table}_{today + timedelta(days=DAYS_AHEAD):%Y%m%d}" in names for table in PARTITIONED)


async def test_two_workers_may_make_the_days_at_once(engine: AsyncEngine) -> None:
    async with driver(engine) as one, driver(engine) as other:
        # The last there is: a day later than the clock says, if midnight came since they were made.
        last = await one.fetchval("SELECT max(relname) FROM pg_class WHERE relname ~ '^attempts_[0-9]{8}$'")
        await one.execute(f"DROP TABLE {last}")
        await create_partitions(one)
        await create_partitions(other)
        assert await one.fetchval("SELECT to_regclass($1)", last) is not None


async def _insert_event(connection: asyncpg.Connection, uid: UUID) -> None:
    await connection.execute(
        """INSERT INTO events (uid, organization_id, event_id, event_type, occurred_at, is_test, body)
           VALUES ($1, 'o', 'e', 't', now(), false, '')""",
        uid,
    )


async def _schema(engine: AsyncEngine) -> list[tuple[str, ...]]:
    async with driver(engine) as connection:
        rows = await connection.fetch(
            """SELECT table_name, column_name, data_type FROM information_schema.columns
                WHERE table_schema = 'public' ORDER BY 1, 2"""
        )
    return [tuple(row) for row in rows]


async def test_the_one_due_delivery_is_found_behind_hundreds_of_waiting_endpoints(engine: AsyncEngine) -> None:
    uid = first_uid_of(datetime.now(UTC))
    async with driver(engine) as connection:
        await connection.execute("INSERT INTO organizations (id) VALUES ('o')")
        await _insert_event(connection, uid)
        await connection.execute(
            """INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id,
                                            event_type, state, claims_made, next_attempt_at)
               SELECT $1, n, 'o', 'ep_' || to_char(n, 'FM00000'), 'e', 't', 'pending', 0,
                      now() + CASE WHEN n = 1234 THEN interval '-1 s' ELSE interval '1 h' END
                 FROM generate_series(1, 1500) AS n""",
            uid,
        )
    store = PostgresDeliveryStore(engine, worker_name="w", lease_seconds=60)
    for _ in range(2):
        claims = await store.claim_due(10, per_endpoint_limit=10, room={})
        assert [claim.delivery.endpoint_id for claim in claims] == ["ep_01234"]
        await store.release([Lease(claim.delivery, ENDPOINT, claim.claim_number, 0) for claim in claims])
    assert [claim.claim_number for claim in await store.claim_due(10, per_endpoint_limit=10, room={})] == [3]
    assert not await store.claim_due(10, per_endpoint_limit=10, room={})


async def test_a_claim_does_not_read_the_whole_backlog(engine: AsyncEngine) -> None:
    uid = first_uid_of(datetime.now(UTC))
    async with driver(engine) as connection:
        await connection.execute("INSERT INTO organizations (id) VALUES ('o')")
        await _insert_event(connection, uid)
        await connection.execute(
            """INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id,
                                            event_type, state, claims_made)
               SELECT $1, n, 'o', 'ep', 'e', 't', 'pending', 0 FROM generate_series(1, 20000) AS n""",
            uid,
        )
        await connection.execute("ANALYZE open_deliveries")
        plan = await connection.fetch(f"EXPLAIN {statements.CLAIM}", ["ep"], [100], "w", timedelta(seconds=60), 100)
    assert "Seq Scan on open_deliveries" not in "\n".join(row[0] for row in plan)


async def test_a_plan_kept_from_an_empty_table_still_looks_rows_up(database_url: str) -> None:
    """Batches of a few rows run on such plans; a scan would grow with the backlog."""
    engine = connect(database_url, pool_size=1, for_small_batches=True)
    no_rows: list[list[object]] = [[] for _ in range(16)]
    async with driver(engine) as connection:
        plan = await connection.fetch(f"EXPLAIN {statements.SETTLE}", *no_rows)
    await engine.dispose()
    text = "\n".join(row[0] for row in plan)
    assert text.count("Index Scan using open_deliveries_pkey") == 2
    assert "Seq Scan on open_deliveries" not in text


async def test_a_day_in_use_is_dropped_at_a_later_round(engine: AsyncEngine) -> None:
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=40)
    name, until = f"events_{day:%Y%m%d}", first_uid_of(day + timedelta(days=1))
    store = PostgresDeliveryStore(engine, worker_name="w", lease_seconds=60, retention_days=30)
    async with driver(engine) as connection:
        await connection.execute(
            f"CREATE TABLE {name} PARTITION OF events FOR VALUES FROM ('{first_uid_of(day)}') TO ('{until}')"
        )
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {name} IN ACCESS SHARE MODE")
            await store.keep_partitions()
            assert await connection.fetchval("SELECT to_regclass($1)", name) == name
        await store.keep_partitions()
        assert await connection.fetchval("SELECT to_regclass($1)", name) is None


async def test_a_settlement_after_its_event_was_dropped_is_refused_rather_than_repeated(engine: AsyncEngine) -> None:
    gone = DeliveryKey(first_uid_of(datetime(2001, 1, 1, tzinfo=UTC)), 1)
    delivery = Delivery(gone, "o", "e", "t", b"", "ep", datetime.now(UTC))
    attempt = attempt_of(delivery, 1, datetime.now(UTC), Reply(200, 1), Accepted())
    store = PostgresDeliveryStore(engine, worker_name="w", lease_seconds=60)
    with pytest.raises(RefusedError):
        await store.settle([Settled(delivery, 1, Accept(), attempt)])


async def test_adding_while_the_last_subscription_is_removed_leaves_no_orphan(engine: AsyncEngine) -> None:
    administration = Administration(engine, PlainSecretBox())
    await administration.create_organization("o")
    first = await administration.add_endpoint("o", "https://a.example/", ["message.sent"])
    for _ in range(20):
        _, added = await asyncio.gather(
            administration.remove_endpoint("o", first.id),
            administration.add_endpoint("o", "https://a.example/", ["link.clicked"]),
        )
        listed = await administration.list_endpoints("o")
        assert [each.settings.event_types for each in listed] in ([("link.clicked",)], [added.event_types], [])
        first = await administration.add_endpoint("o", "https://a.example/", ["message.sent"])
        assert "message.sent" in first.event_types


async def test_the_database_takes_every_signature_style_and_no_other(engine: AsyncEngine) -> None:
    async with driver(engine) as connection:
        check = await connection.fetchval(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'endpoints_signature_style_check'"
        )
    assert set(re.findall(r"'([^']+)'", check)) == set(STYLES)
