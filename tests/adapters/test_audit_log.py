"""The audit log in PostgreSQL: written with the change, never rewritten, deleted only when it is old."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.audit.log import AuditReader, audit
from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.retention import PURGE_BATCH_MAX, PostgresRetentionStore
from service.core.audit.actor import ACTOR_ID_BYTES_MAX, ADDRESS_BYTES_MAX, Actor, ActorKind
from service.core.audit.entry import KEPT_DAYS, EntryFilter, EntryView
from service.core.endpoints.gates.failing import ATTEMPTS_MIN, DisablingPolicy
from service.core.walk import Walk
from tests.contract.stores.rig import Bench, InPostgres
from tests.fakes.actor import SOMEBODY
from tests.fakes.settlements import settled_by

pytestmark = pytest.mark.clock

INSERT = """
INSERT INTO audit_log (id, at, organization_id, actor_kind, actor_id, operation, object_id)
SELECT 'aud_' || n, now() - $1::interval, 'org_1', 'cli', 'root@host', 'endpoint.pause', 'ep_1'
  FROM generate_series(1, $2::int) AS n
"""


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    yield engine
    await engine.dispose()


async def execute(engine: AsyncEngine, statement: str, *values: object) -> Any:
    """Through asyncpg itself, whose errors are seen as they are."""
    async with driver(engine) as connection:
        return await connection.fetchval(statement, *values)


async def entries(engine: AsyncEngine, **wanted: Any) -> Sequence[EntryView]:
    return await AuditReader(engine).list(EntryFilter(**wanted), Walk(200))


async def enter(
    engine: AsyncEngine, object_id: str, by: Actor = SOMEBODY, organization_id: str | None = "org_1"
) -> None:
    async with driver(engine) as connection:
        await audit(connection, by, "endpoint.pause", organization_id, object_id, after={"state": "paused"})


async def test_a_change_that_is_rolled_back_leaves_no_entry(engine: AsyncEngine) -> None:
    async with driver(engine) as connection:
        change = connection.transaction()
        await change.start()
        await audit(connection, SOMEBODY, "endpoint.pause", "org_1", "ep_1", after={"state": "paused"})
        await change.rollback()
    assert await entries(engine) == []


async def test_a_change_whose_entry_is_refused_is_not_made(engine: AsyncEngine, owner_database_url: str) -> None:
    other = await asyncpg.connect(owner_database_url)
    await other.execute("ALTER TABLE audit_log ADD CONSTRAINT full_disk CHECK (false) NOT VALID")
    try:
        with pytest.raises(Exception, match="full_disk"):
            await OrganizationStore(engine).create("org_1", by=SOMEBODY)
        assert not await OrganizationStore(engine).exists("org_1")
    finally:
        await other.execute("ALTER TABLE audit_log DROP CONSTRAINT full_disk")
        await other.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor_id = 'nobody'",
        "UPDATE audit_log SET actor_id = 'nobody' WHERE false",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
    ],
)
async def test_nobody_rewrites_the_log(engine: AsyncEngine, owner_database_url: str, statement: str) -> None:
    """Not even the table's owner, unless it disables the trigger; the service is refused before."""
    await enter(engine, "ep_1")
    owner = await asyncpg.connect(owner_database_url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await owner.execute(statement)
    finally:
        await owner.close()
    (kept,) = await entries(engine)
    assert kept.actor_id == SOMEBODY.id


async def test_retention_deletes_what_is_old_in_batches(engine: AsyncEngine) -> None:
    await execute(engine, INSERT, timedelta(days=101), PURGE_BATCH_MAX + 1)
    await execute(engine, INSERT.replace("'aud_'", "'aud_young_'"), timedelta(days=99), 3)
    await PostgresRetentionStore(engine, retention_days=1, audit_retention_days=100).purge()
    assert {each.id for each in await entries(engine)} == {"aud_young_1", "aud_young_2", "aud_young_3"}


async def test_the_trigger_keeps_what_the_settings_must_keep(engine: AsyncEngine) -> None:
    """A shorter retention than the trigger allows would fail in every round."""
    await execute(engine, INSERT, timedelta(days=KEPT_DAYS, minutes=1), 1)
    await execute(engine, INSERT.replace("'aud_'", "'aud_young_'"), timedelta(days=KEPT_DAYS, minutes=-1), 1)
    await PostgresRetentionStore(engine, retention_days=1, audit_retention_days=KEPT_DAYS).purge()
    assert [each.id for each in await entries(engine)] == ["aud_young_1"]


async def test_a_change_that_changed_nothing_is_not_entered(engine: AsyncEngine) -> None:
    async with driver(engine) as connection:
        await audit(connection, SOMEBODY, "endpoint.pause", "org_1", "ep_1", {"state": "paused"}, {"state": "paused"})
        assert await entries(engine) == []
        await audit(connection, SOMEBODY, "organization.create", "org_1", "org_1")
    assert len(await entries(engine)) == 1


async def test_whatever_names_the_actor_is_bounded(engine: AsyncEngine) -> None:
    await enter(engine, "ep_1", Actor(ActorKind.CLI, "ü\0\udcff" * 300, "f" * 300))
    (entry,) = await entries(engine)
    assert len(entry.actor_id.encode()) <= ACTOR_ID_BYTES_MAX
    assert entry.actor_id.startswith("ü?")
    assert entry.address == "f" * ADDRESS_BYTES_MAX


async def test_the_list_is_paged_newest_first_and_filtered(engine: AsyncEngine) -> None:
    for number in range(5):
        await enter(engine, f"ep_{number % 2}", Actor(ActorKind.CLI, f"user{number}@host"))
    await enter(engine, "ep_9", organization_id="org_2")
    await enter(engine, "k2", organization_id=None)
    every = await entries(engine)
    assert [each.object_id for each in every] == ["k2", "ep_9", "ep_0", "ep_1", "ep_0", "ep_1", "ep_0"]
    seen: list[EntryView] = []
    while page := await AuditReader(engine).list(EntryFilter(), Walk(3, (seen[-1].at, seen[-1].id) if seen else None)):
        seen += page
    assert seen == every
    assert [each.object_id for each in await entries(engine, organization_id="org_2")] == ["ep_9"]
    assert len(await entries(engine, organization_id="org_1", object_id="ep_0")) == 3
    assert len(await entries(engine, organization_id="org_1", actor_id="user3@host")) == 1
    assert await entries(engine, operation="endpoint.resume") == []
    assert await entries(engine, since=every[1].at) == every[:2]
    assert await entries(engine, until=every[4].at) == every[5:]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "audit_log_listed"),
        ({"organization_id": "org_7"}, "audit_log_of_organization"),
        ({"organization_id": "org_7", "object_id": "ep_7"}, "audit_log_of_object"),
        ({"organization_id": "org_7", "actor_id": "key_7"}, "audit_log_of_actor"),
        ({"organization_id": "org_7", "operation": "endpoint.pause"}, "audit_log_of_operation"),
    ],
)
async def test_each_filter_has_its_index(
    engine: AsyncEngine, owner_database_url: str, wanted: dict[str, Any], index: str
) -> None:
    await execute(
        engine,
        """INSERT INTO audit_log (id, at, organization_id, actor_kind, actor_id, operation, object_id)
           SELECT 'aud_' || n, now() - n * interval '1 s', 'org_' || n % 10, 'cli', 'key_' || n % 500,
                  CASE WHEN n % 300 = 7 THEN 'endpoint.pause' ELSE 'endpoint.update' END, 'ep_' || n % 700
             FROM generate_series(1, 20000) AS n""",
    )
    owner = await asyncpg.connect(owner_database_url)
    await owner.execute("ANALYZE audit_log")
    await owner.close()
    before = await index_uses(engine)
    await entries(engine, **wanted)
    after = await index_uses(engine)
    assert {name for name in after if after[name] > before[name]} == {index}


async def index_uses(engine: AsyncEngine) -> dict[str, int]:
    async with driver(engine) as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        rows = await connection.fetch(
            "SELECT indexrelname, idx_scan FROM pg_stat_user_indexes WHERE relname = 'audit_log'"
        )
    return {row["indexrelname"]: row["idx_scan"] for row in rows}


async def test_stored_states_are_json(engine: AsyncEngine) -> None:
    async with driver(engine) as connection:
        at = datetime(2026, 11, 20, tzinfo=UTC)
        await audit(connection, SOMEBODY, "key.create", "org_1", "k", after={"expires_at": at, "scopes": ["read"]})
        kept = await connection.fetchval("SELECT after FROM audit_log")
    assert kept == {"expires_at": "2026-11-20T00:00:00.000000Z", "scopes": ["read"]}


@pytest.fixture
async def bench(engine: AsyncEngine) -> Bench:
    bench = Bench(InPostgres(engine))
    await bench.administration.create_organization("org_1")
    return bench


async def of_posthorn(engine: AsyncEngine) -> list[tuple[str, str, Any, Any]]:
    found = await entries(engine, actor_id="posthorn")
    assert {(each.actor_kind, each.address, each.organization_id) for each in found} <= {("posthorn", None, "org_1")}
    return [(each.operation, each.object_id, each.before, each.after) for each in found]


async def test_an_endpoint_that_is_gone_is_entered_once(engine: AsyncEngine, bench: Bench) -> None:
    gone = await bench.endpoint("gone", ["link.clicked", "message.sent"])
    await bench.pending(3)
    await bench.settle(*(settled_by(each, 410) for each in await bench.claim()))
    after = {"state": "active", "ended_event_types": ["message.sent"]}
    assert await of_posthorn(engine) == [("endpoint.gone", gone, None, after)]
    await bench.pending(type="link.clicked")
    await bench.settle(*(settled_by(each, 410) for each in await bench.claim()))
    after = {"state": "gone", "ended_event_types": ["link.clicked"]}
    assert (await of_posthorn(engine))[0] == ("endpoint.gone", gone, None, after)


async def test_an_endpoint_that_is_disabled_and_answers_again_is_entered(engine: AsyncEngine, bench: Bench) -> None:
    failing = await bench.endpoint("failing")
    await bench.pending()
    late = await bench.claim_one()
    await bench.pending(ATTEMPTS_MIN)
    await bench.settle(*(settled_by(each, 404) for each in await bench.claim()))
    policy = DisablingPolicy(seconds=60.0)
    await bench.database.pass_time(61)
    await bench.database.failing.judge(policy, 10)
    (disabled,) = await of_posthorn(engine)
    assert disabled[:3] == ("endpoint.disable", failing, None)
    assert disabled[3]["is_disabled"]
    assert disabled[3]["detail"].startswith("the endpoint is disabled: all attempts have failed since")
    await bench.settle(settled_by(late))
    await bench.database.failing.end(10)
    assert (await of_posthorn(engine))[0] == ("endpoint.resume", failing, {"is_disabled": True}, {"is_disabled": False})


async def test_what_opens_and_shuts_by_itself_is_not_entered(engine: AsyncEngine, bench: Bench) -> None:
    await bench.endpoint("failing")
    await bench.pending(30)
    await bench.settle(*(settled_by(each, 503) for each in await bench.claim()))
    assert await of_posthorn(engine) == []
