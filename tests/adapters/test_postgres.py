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
from service.adapters.postgres.deliveries.lines import purge_lines
from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.endpoints import expiry
from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.partitions import first_uid_of
from service.adapters.postgres.retention import PostgresRetentionStore
from service.adapters.postgres.schema import is_migrated, migrate_schema
from service.core.deliveries.attempt import attempt_of
from service.core.deliveries.delivery import FINAL_STATES, OPEN_STATES, Delivery, DeliveryKey
from service.core.deliveries.outcome import Accepted, OutcomeKind
from service.core.deliveries.request import Reply
from service.core.deliveries.settlement import Accept, Settled
from service.core.endpoints.endpoint import Endpoint
from service.core.endpoints.expiry import WARN_BEFORE
from service.core.endpoints.gates.gate import STORED
from service.core.reason import Reason
from service.ports.errors import RefusedError, UnavailableError
from tests.fakes.administration import Administration
from tests.fakes.delivery_store import alike
from tests.fakes.secret_box import PlainSecretBox
from tests.fakes.settlements import released
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


async def test_a_connection_that_takes_no_writes_is_replaced(database_url: str) -> None:
    """After a failover it leads to a server that others only read from; a new one finds its successor."""
    engine = connect(database_url, pool_size=1)
    async with driver(engine) as connection:
        await connection.execute("SET default_transaction_read_only = on")
    with pytest.raises(UnavailableError, match="read-only"):
        async with driver(engine) as connection:
            await connection.execute("CREATE TABLE refused ()")
    async with driver(engine) as connection:
        assert await connection.fetchval("SHOW transaction_read_only") == "off"
    await engine.dispose()


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
        "gates": STORED,
    }


async def _insert_event(connection: asyncpg.Connection, uid: UUID) -> None:
    await connection.execute(
        """INSERT INTO events (uid, organization_id, event_id, event_type, occurred_at, is_test, body)
           VALUES ($1, 'o', 'e', 't', now(), false, '')""",
        uid,
    )


async def _schema(engine: AsyncEngine) -> list[tuple[str, ...]]:
    """Every column, but those of a day's partitions: after midnight there is another day."""
    async with driver(engine) as connection:
        rows = await connection.fetch(
            """SELECT table_name, column_name, data_type FROM information_schema.columns
                WHERE table_schema = 'public' AND table_name !~ '_[0-9]{8}$' ORDER BY 1, 2"""
        )
    return [tuple(row) for row in rows]


async def test_endpoints_that_expire_are_found_without_a_look_at_those_without_an_end(engine: AsyncEngine) -> None:
    async with driver(engine) as connection:
        await connection.execute("INSERT INTO organizations (id) VALUES ('o')")
        await connection.execute(
            """INSERT INTO endpoints (id, organization_id, url, valid_until)
               SELECT 'ep_' || n, 'o', 'https://a.example/' || n, CASE WHEN n % 1000 = 0 THEN now() END
                 FROM generate_series(1, 5000) AS n"""
        )
        await connection.execute("ANALYZE endpoints")
        now = await connection.fetchval("SELECT now()")
        for statement, arguments in (
            (expiry.OVER, (50, [])),
            (expiry.COMING, (now, "", WARN_BEFORE, 500)),
        ):
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *arguments))
            assert "Scan using endpoints_by_expiry" in plan or "Index Scan on endpoints_by_expiry" in plan, plan


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
        claims = await store.claim_due(alike(10)) or await store.claim_due(alike(10))  # a claim reads a few pages only
        assert [claim.delivery.endpoint_id for claim in claims] == ["ep_01234"]
        await store.settle([released(claim) for claim in claims])
    claims = await store.claim_due(alike(10)) or await store.claim_due(alike(10))
    assert [claim.claim_number for claim in claims] == [3]
    assert not await store.claim_due(alike(10))


async def test_a_long_backlog_is_read_on_with_each_claim_whatever_others_wait_for(engine: AsyncEngine) -> None:
    uid = first_uid_of(datetime.now(UTC))
    async with driver(engine) as connection:
        await connection.execute("INSERT INTO organizations (id) VALUES ('o')")
        await _insert_event(connection, uid)
        await connection.execute(
            """INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id,
                                            event_type, state, claims_made, next_attempt_at)
               SELECT $1, n, 'o', CASE WHEN n <= 3000 THEN 'ep_' || to_char(n, 'FM00000') ELSE 'ep_01234' END, 'e', 't',
                      'pending', 0, now() + CASE WHEN n <= 3000 THEN interval '1 h' ELSE interval '-1 s' END
                 FROM generate_series(1, 3500) AS n""",
            uid,
        )
    store = PostgresDeliveryStore(engine, worker_name="w", lease_seconds=60)
    counts = [len(await store.claim_due(alike(100))) for _ in range(12)]
    first = next(index for index, count in enumerate(counts) if count)
    assert counts[first:][:6] == [100] * 5 + [0]


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


async def test_endpoints_without_order_pay_one_probe_for_the_lines_of_another(engine: AsyncEngine) -> None:
    others = [f"ep_{number:03}" for number in range(100)]
    async with driver(engine) as connection:
        await _insert_places(connection, 20_000)
        await connection.execute(
            """INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id, event_type,
                                            state, claims_made)
               SELECT gen_random_uuid(), 1, 'o', id, 'e', 't', 'pending', 0 FROM unnest($1::text[]) AS id""",
            others,
        )
        await connection.execute("ANALYZE")
        for statement, arguments in (
            (statements.TURNS, ("", 500)),
            (statements.TURNS_OF, (others,)),
            (statements.KINDS, (others,)),
            (statements.CLAIM, (others, [1] * 100, "w", timedelta(seconds=60), 100)),
        ):
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *arguments))
            assert "Seq Scan on ordered_deliveries" not in plan, plan
            assert "Index Only Scan using ordered_deliveries_in_line" in plan, plan


async def test_bringing_retries_forward_passes_over_what_waits_in_line(engine: AsyncEngine) -> None:
    async with driver(engine) as connection:
        await _insert_places(connection, 5_000)
        await connection.execute("ANALYZE")
        arguments = (["ep_long"], [4])
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statements.BRING_FORWARD}", *arguments))
    assert "next_attempt_at < 'infinity'" in plan, plan


async def test_places_left_behind_are_forgotten_and_who_waited_is_looked_at(engine: AsyncEngine) -> None:
    async with driver(engine) as connection:
        await _insert_places(connection, 50)
        gone = await connection.fetch(
            """DELETE FROM open_deliveries WHERE event_uid IN (
                   SELECT DISTINCT ON (line) event_uid FROM ordered_deliveries ORDER BY line, place, event_uid)
               RETURNING event_uid"""
        )
        await connection.execute(
            """INSERT INTO line_heads (line, event_uid, subscription_id, replay_number)
               SELECT line, event_uid, subscription_id, replay_number FROM ordered_deliveries WHERE event_uid = ANY ($1)""",
            [row["event_uid"] for row in gone],
        )
        await purge_lines(connection, 7)
        left = await connection.fetchval("SELECT count(*) FROM ordered_deliveries")
        heads = await connection.fetchval("SELECT count(*) FROM line_heads")
        due = await connection.fetchval("SELECT count(*) FROM open_deliveries WHERE next_attempt_at <= now()")
    assert (len(gone), left, heads, due) == (10, 40, 0, 10)


async def _insert_places(connection: asyncpg.Connection, count: int) -> None:
    """So many deliveries of one endpoint that wait, in ten lines."""
    await connection.execute(
        """WITH made AS (
               INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id,
                                            event_type, state, claims_made, next_attempt_at)
               SELECT gen_random_uuid(), n, 'o', 'ep_long', 'e', 't', 'pending', 0, 'infinity'
                 FROM generate_series(1, $1::int) AS n
               RETURNING *)
           INSERT INTO ordered_deliveries (event_uid, subscription_id, replay_number, endpoint_id, line, place)
           SELECT event_uid, subscription_id, replay_number, endpoint_id, md5((subscription_id % 10)::text)::uuid, now()
             FROM made""",
        count,
    )


async def test_a_plan_kept_from_an_empty_table_still_looks_rows_up(database_url: str) -> None:
    """Batches of a few rows run on such plans; a scan would grow with the backlog."""
    engine = connect(database_url, pool_size=1, for_small_batches=True)
    no_rows: list[list[object]] = [[] for _ in range(17)]
    async with driver(engine) as connection:
        await connection.execute("TRUNCATE open_deliveries")  # and with it what is known of the rows of other tests
        plan = await connection.fetch(f"EXPLAIN {statements.SETTLE}", *no_rows)
    await engine.dispose()
    text = "\n".join(row[0] for row in plan)
    assert text.count("Index Scan using open_deliveries_pkey") == 2
    assert "Seq Scan on open_deliveries" not in text


@pytest.mark.parametrize("is_small", [False, True])
async def test_recording_reads_the_gates_of_its_own_endpoints_only(database_url: str, *, is_small: bool) -> None:
    engine = connect(database_url, pool_size=1, for_small_batches=is_small)
    async with driver(engine) as connection:
        await connection.execute("INSERT INTO organizations (id) VALUES ('o')")
        if is_small:  # its plan is made once, most likely when there are no gates yet
            await connection.fetchrow(statements.RECORD, *_recording("first"))
        await _shut_gates(connection, 20_000)
        if not is_small:
            await connection.execute("ANALYZE gates")
        async with connection.transaction():
            row = await connection.fetchrow(statements.RECORD, *_recording("second"))
            read = await connection.fetchval(
                "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'gates'"
            )
    await engine.dispose()
    assert [subscription_id for _, subscription_id in row["pending"]] == [1]
    assert read == 1


def _recording(event_id: str) -> list[object]:
    """The arguments of an event for an endpoint that is gated, once there are gates, and one that never is."""
    now = datetime.now(UTC)
    uid = UUID(int=first_uid_of(now).int + sum(event_id.encode()))
    event = [[uid], ["o"], [event_id], ["t"], [now], [False], [b""], [b""], *[[None]] * 6]
    return [[], [], *event, [uid, uid], [1, 2], ["ep_00001", "other"], [True, True], "w", timedelta(seconds=60)]


async def test_gates_that_opened_long_ago_are_deleted_and_locked_ones_are_left_for_later(engine: AsyncEngine) -> None:
    store = PostgresRetentionStore(engine, retention_days=30, audit_retention_days=365)
    async with driver(engine) as connection:
        await connection.execute("INSERT INTO organizations (id) VALUES ('o')")
        await _shut_gates(connection, 4)
        for number, until in (("1", "-2 days"), ("2", "-2 days"), ("3", "-1 minute"), ("4", "1 minute")):
            await connection.execute(
                "INSERT INTO gates VALUES ('ep_0000' || $1, 'retry_after', now() + $2::text::interval)", number, until
            )
        kept = "SELECT array_agg(right(endpoint_id, 1) ORDER BY endpoint_id) FROM gates WHERE kind = 'retry_after'"
        async with connection.transaction():
            await connection.execute("SELECT FROM gates WHERE endpoint_id = 'ep_00002' FOR UPDATE")
            await store.purge()
            assert await connection.fetchval(kept) == ["2", "3", "4"]
        await store.purge()
        assert await connection.fetchval(kept) == ["3", "4"]
        assert await connection.fetchval("SELECT count(*) FROM gates WHERE kind = 'paused'") == 4


async def _shut_gates(connection: asyncpg.Connection, count: int) -> None:
    await connection.execute(
        """INSERT INTO endpoints (id, organization_id, url)
           SELECT 'ep_' || to_char(n, 'FM00000'), 'o', 'https://' || n || '.example/' FROM generate_series(1, $1::int) n""",
        count,
    )
    await connection.execute("INSERT INTO gates SELECT id, 'paused', 'infinity' FROM endpoints")


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


async def test_a_transaction_that_is_left_idle_is_ended(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.adapters.postgres.engine.IDLE_IN_TRANSACTION_MAX", "50ms")
    engine, lost = connect(database_url, pool_size=1), asyncio.Event()

    async def hang() -> None:
        async with asyncio.timeout(30), driver(engine) as connection, connection.transaction():
            connection.add_termination_listener(lambda _: lost.set())
            await connection.execute("SELECT pg_current_xact_id()")
            await lost.wait()

    with pytest.raises(UnavailableError):
        await hang()
    assert lost.is_set()
    async with driver(engine) as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await engine.dispose()
