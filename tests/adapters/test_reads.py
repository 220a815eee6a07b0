"""Lists of deliveries and events, held against a model in Python on a history of some days; their plans; their pages."""

import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.plans import listening, nodes_of, plan_of, seq_scans
from bench.seed import LARGE, Size, seed
from service.adapters.postgres.deliveries import in_scope
from service.adapters.postgres.deliveries.reader import DeliveryReader
from service.adapters.postgres.endpoints.resthooks import ResthookReader
from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.events.reader import EventReader
from service.adapters.postgres.events.story import StoryReader
from service.adapters.postgres.replays.jobs import ReplayJobs
from service.adapters.postgres.replays.statements import FOR_A_STEP
from service.adapters.postgres.replays.steps import PostgresReplayStore
from service.adapters.postgres.schema import migrate_schema
from service.cli.database import NoSecretBox
from service.core.deliveries.delivery import FINAL_STATES, DeliveryKey, State
from service.core.deliveries.story import Listed, Section, StoryPage
from service.core.deliveries.view import DeliveryFilter
from service.core.events.registry import REGISTRY
from service.core.events.scope import ScopeName, ScopeWanted
from service.core.events.uid import received_at
from service.core.events.view import EventFilter
from service.core.reason import Reason
from service.core.replays.job import ReplayJob, ReplayWish
from service.core.walk import Walk
from tests.fakes.actor import SOMEBODY
from tests.fakes.events import new_uid

pytestmark = pytest.mark.clock

UNTIL = datetime(2026, 1, 4, tzinfo=UTC)  # a midnight: every day of the history is whole, whenever this runs
SIZE = Size(events=5000, attempts=22_000, days=3, organizations=5, large_endpoints=8, until=UNTIL)
ROWS_MIN = 1000  # of a partition: from here on it matters how it is read

Row = Mapping[str, Any]


@pytest.fixture(scope="module")
async def engine(postgres_server_url: str) -> AsyncIterator[AsyncEngine]:
    """A history in a database of its own: its days are no other test's."""
    name = f"test_reads_{secrets.token_hex(4)}"
    url = make_url(postgres_server_url).set(database=name).render_as_string(hide_password=False)
    server = await asyncpg.connect(postgres_server_url)
    await server.execute(f'CREATE DATABASE "{name}"')
    engine = connect(url, pool_size=1)
    try:
        await migrate_schema(url)
        connection = await asyncpg.connect(url)
        await seed(connection, SIZE)
        await connection.close()
        yield engine
    finally:
        await engine.dispose()
        await server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await server.close()


async def rows_of(engine: AsyncEngine, table: str) -> Sequence[Row]:
    async with driver(engine) as connection:
        found: Sequence[Row] = await connection.fetch(f"SELECT * FROM {table}")  # noqa: S608
    return found


async def deliveries_of(engine: AsyncEngine) -> Sequence[Row]:
    """Every delivery, with what its event is about and belongs to."""
    about = ("message_id", *ScopeName)
    events = {row["uid"]: {name: row[name] for name in about} for row in await rows_of(engine, "events")}
    nothing = dict.fromkeys(about)
    return [{**row, **events.get(row["event_uid"], nothing)} for row in await rows_of(engine, "deliveries")]


def key_of(row: Row) -> tuple[UUID, int, int]:
    return row["event_uid"], row["subscription_id"], row["replay_number"]


def is_wanted(wanted: DeliveryFilter, row: Row) -> bool:
    """The model: what a filter means, in the fewest words."""
    columns: dict[str, Collection[Any]] = {
        "organization_id": [wanted.organization_id] if wanted.organization_id else [],
        "endpoint_id": wanted.endpoint_ids,
        "event_id": [wanted.event_id] if wanted.event_id else [],
        "message_id": [wanted.message_id] if wanted.message_id else [],
        "state": wanted.states,
        "event_type": wanted.event_types,
        "last_status": [status for low, high in wanted.statuses for status in range(low, high + 1)],
        "reason": wanted.reasons,
    }
    if wanted.scope is not None:
        columns[wanted.scope.name] = wanted.scope.ids
    at = received_at(row["event_uid"])
    is_in_time = (wanted.since is None or at >= wanted.since) and (wanted.until is None or at < wanted.until)
    return is_in_time and all(not values or row[name] in values for name, values in columns.items())


def scope_of(row: Row, draw: random.Random) -> ScopeWanted:
    """What the event of the row belongs to, or more."""
    name = draw.choice([*ScopeName])
    return ScopeWanted(name, list(dict.fromkeys(draw.choices([row[name] or "none", "camp_3"], k=2))))


async def listed(reader: DeliveryReader, wanted: DeliveryFilter, walk: Walk[DeliveryKey]) -> Sequence[str]:
    """The ids on a page, read as far as it takes."""
    found: list[str] = []
    for _ in range(1000):
        stretch = await reader.list(wanted, replace(walk, limit=walk.limit - len(found)))
        found += [each.id for each in stretch.rows]
        if stretch.reached is None:
            return found
        assert len(found) < walk.limit
        walk = replace(walk, beside=stretch.reached)
    raise AssertionError("the list does not come to an end")


def some_filters(rows: Sequence[Row], draw: random.Random) -> Iterator[DeliveryFilter]:
    """Every filter alone, then any of them together; with values that occur, and some that do not."""

    def times() -> dict[str, datetime]:
        at = received_at(draw.choice(rows)["event_uid"])
        return {"since": at, "until": at + timedelta(hours=draw.choice([1, 12, 40]))}

    def several(*values: Any) -> list[Any]:
        """The value of the row or another, and sometimes more of them, or the same again."""
        return draw.choices(values, k=draw.choice([1, 1, 2, 3]))

    def values(row: Row) -> dict[str, Any]:
        return {
            "organization_id": row["organization_id"],
            "endpoint_ids": several(row["endpoint_id"], "ep_unknown", "ep_orglargex1"),
            "event_id": row["event_id"],
            "message_id": row["message_id"],
            "states": several(State(row["state"]), State.LEASED, State.DEAD, State.DELIVERED),
            "event_types": several(row["event_type"], "order.placed", "link.clicked"),
            "statuses": several((row["last_status"] or 200,) * 2, (204, 204), (418, 418), (400, 499), (500, 599)),
            "reasons": several(Reason(row["reason"] or "gone"), Reason.GONE, Reason.TIMEOUT),
            "scope": scope_of(row, draw),
            **times(),
        }

    names = list(values(rows[0]))
    for name in names:
        for organization_id in (None, LARGE, "org_1"):
            if name in {"message_id", "scope"} and organization_id is None:
                continue  # only within an organization
            yield replace(DeliveryFilter(organization_id), **{name: values(draw.choice(rows))[name]})
    rare = [row for row in rows if row["state"] != "delivered"]
    for _ in range(60):
        row = draw.choice(draw.choice([rows, rare]))
        chosen = draw.sample([name for name in names if name != "organization_id"], draw.randrange(4))
        found = {name: value for name, value in values(row).items() if name in chosen}
        if found.keys() & {"message_id", "event_id"}:
            found.pop("scope", None)
        organization_id = (
            row["organization_id"]
            if found.keys() & {"message_id", "scope"}
            else draw.choice([row["organization_id"], None])
        )
        yield DeliveryFilter(organization_id=organization_id, **found)


async def test_every_filter_and_combination_finds_what_the_model_finds(engine: AsyncEngine) -> None:
    rows = sorted(await deliveries_of(engine), key=key_of, reverse=True)
    draw = random.Random(7)  # noqa: S311
    reader = DeliveryReader(engine)
    for wanted in some_filters(rows, draw):
        expected = [str(DeliveryKey(*key_of(row))) for row in rows if is_wanted(wanted, row)]
        assert await listed(reader, wanted, Walk(30)) == expected[:30], wanted
        assert await listed(reader, wanted, Walk(5, is_descending=False)) == expected[::-1][:5], wanted
        if len(expected) > 1:  # from somewhere in the middle
            index = draw.randrange(len(expected) - 1)
            beside = DeliveryKey.parse(expected[index])
            assert await listed(reader, wanted, Walk(5, beside)) == expected[index + 1 : index + 6], wanted
            found = await listed(reader, wanted, Walk(5, beside, is_descending=False))
            assert found == expected[:index][::-1][:5], wanted


SMALL_LIMITS = {"EVENTS_MAX": 60, "CANDIDATES_MAX": 40, "FAILURES_MAX": 25}


@pytest.mark.parametrize("limits", [{}, SMALL_LIMITS])
async def test_a_scope_has_all_of_its_deliveries_however_little_is_read_at_once(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, limits: Mapping[str, int]
) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(in_scope, name, value)
    rows = sorted(await deliveries_of(engine), key=key_of, reverse=True)
    draw = random.Random(10)  # noqa: S311
    reader = DeliveryReader(engine)
    ends: list[dict[str, Any]] = [{}, {"states": [State.DEAD]}, {"states": [State.PENDING]}, {"statuses": [(500, 599)]}]
    ends += [{"event_types": ["message.failed", "message.replied"]}, {"endpoint_ids": ["ep_orglargex1"]}]
    for more in ends:
        scope = scope_of(draw.choice([row for row in rows if row["organization_id"] == LARGE]), draw)
        wanted = DeliveryFilter(LARGE, scope=scope, **more)
        expected = [str(DeliveryKey(*key_of(row))) for row in rows if is_wanted(wanted, row)]
        assert await listed(reader, wanted, Walk(len(rows))) == expected, wanted
        assert await listed(reader, wanted, Walk(len(rows), is_descending=False)) == expected[::-1], wanted


async def test_events_by_type_and_time(engine: AsyncEngine) -> None:
    rows = sorted(await rows_of(engine, "events"), key=lambda row: row["uid"], reverse=True)
    draw = random.Random(8)  # noqa: S311
    reader = EventReader(engine)
    for _ in range(90):
        since = received_at(draw.choice(rows)["uid"])
        message_id = draw.choice([None, None, draw.choice(rows)["message_id"]])
        scope = draw.choice([None, scope_of(draw.choice(rows), draw)]) if message_id is None else None
        wanted = EventFilter(
            draw.choice([LARGE, "org_1", "org_unknown"]),
            draw.sample([*REGISTRY], draw.choice([0, 0, 1, 2])),
            message_id,
            draw.choice([None, since]),
            draw.choice([None, since + timedelta(hours=draw.choice([1, 30]))]),
            scope,
        )
        expected = [
            row["uid"]
            for row in rows
            if row["organization_id"] == wanted.organization_id
            and (not wanted.event_types or row["event_type"] in wanted.event_types)
            and wanted.message_id in {None, row["message_id"]}
            and (scope is None or row[scope.name] in scope.ids)
            and (wanted.since is None or received_at(row["uid"]) >= wanted.since)
            and (wanted.until is None or received_at(row["uid"]) < wanted.until)
        ]
        beside = draw.choice([None, *expected[:50]])
        rest = expected if beside is None else expected[expected.index(beside) + 1 :]
        assert [each.uid for each in await reader.list(wanted, Walk(20, beside))] == rest[:20], wanted
        rest = expected[::-1] if beside is None else expected[: expected.index(beside)][::-1]
        found = await reader.list(wanted, Walk(20, beside, is_descending=False))
        assert [each.uid for each in found] == rest[:20], wanted


async def test_no_plan_reads_a_big_table_whole(engine: AsyncEngine) -> None:
    """With the planner's own settings: nothing is forbidden, the indexes are what it prefers."""
    rows = await deliveries_of(engine)
    draw = random.Random(9)  # noqa: S311
    deliveries, events, explain = DeliveryReader(engine), EventReader(engine), StoryReader(engine)
    row = next(row for row in rows if row["organization_id"] == LARGE)
    key = DeliveryKey(*key_of(row))
    questions: list[Callable[[], Awaitable[object]]] = [
        partial(deliveries.list, DeliveryFilter(LARGE), Walk(50)),
        partial(deliveries.list, DeliveryFilter(LARGE), Walk(50, key)),
        partial(deliveries.list, DeliveryFilter(LARGE), Walk(50, key, is_descending=False)),
        partial(deliveries.show, key, LARGE),
        partial(events.list, EventFilter(LARGE), Walk(50)),
        partial(events.list, EventFilter(LARGE), Walk(50, is_descending=False)),
        partial(events.list, EventFilter(LARGE, ["message.sent"]), Walk(50)),
        partial(events.list, EventFilter(LARGE, ["message.sent", "link.clicked"]), Walk(50)),
        partial(events.list, EventFilter(LARGE, (), "msg_17"), Walk(50)),
        *(
            partial(events.list, EventFilter(LARGE, types, scope=scope), Walk(50))
            for types in ((), ["message.sent"])
            for scope in (ScopeWanted(ScopeName.CAMPAIGN, ["camp_3"]), ScopeWanted(ScopeName.BRAND, ["brand_1", "x"]))
        ),
        partial(events.bodies, LARGE, [key.event_uid]),
        partial(events.find, LARGE, row["event_id"]),
        partial(events.about_message, LARGE, "msg_17"),
        partial(events.messages_called, LARGE, "theirs_17"),
        *(
            partial(
                explain.read, LARGE, row["event_id"], StoryPage(sections, Walk(50, after, is_descending=is_descending))
            )
            for sections in (frozenset(Section), frozenset({Section.ASKING}))
            for after in (None, Listed(Section.ASKING, 3), Listed(Section.REMOVED, 3))
            for is_descending in (False, True)
        ),
        # Without an organization only the command line asks, and may wait.
        *(
            partial(deliveries.list, each, Walk(50))
            for each in some_filters(rows, draw)
            if each.organization_id is not None
        ),
    ]
    async with driver(engine) as connection:
        count = await connection.fetchval(
            "SELECT count(*) FROM pg_class WHERE reltuples >= $1 AND relname ~ '^(events|final|attempts)'", ROWS_MIN
        )
    assert count >= 9, "the history is too small for the planner to care"
    for ask in questions:
        async with listening(engine) as ran:
            await ask()
        assert ran
        async with driver(engine) as connection:
            for statement, arguments in ran.items():
                found = await seq_scans(connection, statement, arguments, rows_min=ROWS_MIN)
                assert not found, (found, statement, arguments)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (DeliveryFilter("org_1"), "organization_id_event_type_event"),
        (DeliveryFilter("org_1", event_types=["message.sent"]), "organization_id_event_type_event"),
        (DeliveryFilter("org_1", event_types=["message.sent", "link.clicked"]), "organization_id_event_type_event"),
        (DeliveryFilter(LARGE, ["ep_orglargex3"]), "endpoint_id_event_type_event"),
        (DeliveryFilter(LARGE, ["ep_orglargex3", "ep_orglargex4"]), "endpoint_id_event_type_event"),
        (DeliveryFilter(LARGE, states=[State.CANCELLED]), "organization_id_state_reason"),
        (DeliveryFilter(LARGE, states=[State.CANCELLED, State.DEAD]), "organization_id_state_reason"),
        (DeliveryFilter(LARGE, reasons=[Reason.AGE_EXCEEDED]), "organization_id_state_reason"),
        (DeliveryFilter(LARGE, reasons=[Reason.AGE_EXCEEDED, Reason.TIMEOUT]), "organization_id_state_reason"),
        (DeliveryFilter(LARGE, statuses=[(418, 418)]), "organization_id_last_status"),
        (DeliveryFilter(LARGE, statuses=[(400, 499), (503, 503)]), "organization_id_last_status"),
        (DeliveryFilter(LARGE, message_id="msg_17"), "pkey"),
        (DeliveryFilter(LARGE, event_id="evt_11"), "pkey"),
    ],
)
async def test_each_index_is_the_one_that_was_made_for_it(
    engine: AsyncEngine, wanted: DeliveryFilter, index: str
) -> None:
    async with listening(engine) as ran:
        await DeliveryReader(engine).list(wanted, Walk(51))
    [(statement, arguments)] = [each for each in ran.items() if "final_deliveries" in each[0]]
    async with driver(engine) as connection:
        plan = await plan_of(connection, statement, arguments)
        filled = await connection.fetch("SELECT relname FROM pg_class WHERE reltuples >= $1", ROWS_MIN)
    big = {row["relname"] for row in filled if row["relname"].startswith("final_deliveries_2")}
    used = {node.get("Index Name", "none") for node in nodes_of(plan) if node.get("Relation Name") in big}
    assert used
    assert all(index in name for name in used), used


EVENT_LISTS: Mapping[str, Callable[[AsyncEngine], Awaitable[object]]] = {
    "all": lambda engine: EventReader(engine).list(EventFilter(LARGE), Walk(51)),
    "types": lambda engine: EventReader(engine).list(EventFilter(LARGE, ["link.clicked", "order.placed"]), Walk(51)),
    "brand": lambda engine: EventReader(engine).list(
        EventFilter(LARGE, scope=ScopeWanted(ScopeName.BRAND, ["brand_1", "brand_2"])), Walk(51)
    ),
    "v2": lambda engine: ResthookReader(engine, NoSecretBox()).list_events(LARGE, Walk(51)),
}


@pytest.mark.parametrize("ask", EVENT_LISTS.values(), ids=EVENT_LISTS)
async def test_the_newest_of_a_rare_type_are_not_looked_for_among_all_events(
    engine: AsyncEngine, ask: Callable[[AsyncEngine], Awaitable[object]]
) -> None:
    async with listening(engine) as ran:
        await ask(engine)
    [(statement, arguments)] = [each for each in ran.items() if "body" in each[0]]
    async with driver(engine) as connection:
        plan = await plan_of(connection, statement, arguments)
        filled = await connection.fetch("SELECT relname FROM pg_class WHERE reltuples >= $1", ROWS_MIN)
    big = {row["relname"] for row in filled if row["relname"].startswith("events_2")}
    read = [node for node in nodes_of(plan) if node.get("Relation Name") in big]
    assert read
    assert not [node for node in read if "event_type" in node.get("Filter", "")]


END_SOME = """
WITH ended AS (
    DELETE FROM open_deliveries WHERE ctid = ANY (ARRAY(SELECT ctid FROM open_deliveries ORDER BY random() LIMIT 20))
    RETURNING *)
INSERT INTO final_deliveries (event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id,
                              event_type, state, created_at, claims_made, attempts_made)
SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type, 'delivered',
       created_at, claims_made, attempts_made FROM ended
"""
ADD_SOME = """
INSERT INTO open_deliveries (event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id,
                             event_type, state, claims_made)
SELECT $1, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type,
       'pending', 0 FROM open_deliveries ORDER BY random() LIMIT 1
"""


async def test_pages_have_no_gap_and_no_repeat_while_deliveries_end_and_come(engine: AsyncEngine) -> None:
    before = {
        str(DeliveryKey(*key_of(row))) for row in await rows_of(engine, "deliveries") if row["organization_id"] == LARGE
    }
    seen: list[str] = []
    cursor = None
    is_first = True
    while is_first or cursor is not None:
        is_first = False
        found = (await DeliveryReader(engine).list(DeliveryFilter(LARGE), Walk(97, cursor))).rows
        seen += [each.id for each in found]
        cursor = DeliveryKey.parse(found[-1].id) if found else None
        async with driver(engine) as connection:
            await connection.execute(END_SOME)
            await connection.execute(ADD_SOME, new_uid())
    assert len(seen) == len(set(seen))
    assert before <= set(seen)
    assert seen == sorted(seen, key=key_parts, reverse=True)


DELIVER_REPLAYS = """
WITH ended AS (DELETE FROM open_deliveries o USING replay_made m
                WHERE o.event_uid = m.event_uid AND o.subscription_id = m.subscription_id
                  AND o.replay_number = m.replay_number RETURNING o.*)
INSERT INTO final_deliveries (event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id,
                              event_type, state, created_at, claims_made, attempts_made)
SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type, 'delivered',
       created_at, claims_made, attempts_made FROM ended
RETURNING event_uid, subscription_id, replay_number
"""


@pytest.mark.parametrize(
    "wish",
    [
        ReplayWish("ep_orglargex3", states=tuple(FINAL_STATES), rate=1000),
        ReplayWish("ep_orglargex4", since=UNTIL - timedelta(days=2), until=UNTIL - timedelta(days=1), rate=1000),
        ReplayWish(event_type="message.failed", states=(State.DELIVERED,), rate=1000),
    ],
)
async def test_a_replay_makes_what_the_model_says_and_each_of_its_steps_walks_indexes(
    engine: AsyncEngine, wish: ReplayWish
) -> None:
    rows = [row for row in await rows_of(engine, "final_deliveries") if row["organization_id"] == LARGE]
    endpoint_ids, event_types = ([each] if each else [] for each in (wish.endpoint_id, wish.event_type))
    wanted = DeliveryFilter(LARGE, endpoint_ids, event_types=event_types, since=wish.since, until=wish.until)
    matching = sorted(key_of(row) for row in rows if is_wanted(wanted, row) and row["state"] in wish.states)
    newest = {key_of(row)[:2]: row["replay_number"] for row in sorted(await rows_of(engine, "deliveries"), key=key_of)}
    stored = {row["uid"] for row in await rows_of(engine, "events")}
    jobs, store = ReplayJobs(engine), PostgresReplayStore(engine, retention_days=3650)
    job = await jobs.create(LARGE, wish, by=SOMEBODY)
    assert isinstance(job, ReplayJob)
    made: list[tuple[UUID, int, int]] = []
    async with listening(engine) as ran:
        while job.ended_at is None:
            assert await store.step(LARGE, "") is not None
            async with driver(engine) as connection:
                made += [key_of(row) for row in await connection.fetch(DELIVER_REPLAYS)]
                await connection.execute("UPDATE replay_jobs SET measured_at = measured_at - interval '1 second'")
            found = await jobs.find(LARGE, job.id)
            assert found is not None
            job = found
    expected = [(uid, subscription_id, number + 1) for uid, subscription_id, number in matching
                if newest[uid, subscription_id] == number and uid in stored]  # fmt: skip
    assert sorted(made) == expected
    assert expected
    assert (job.total_count, job.created_count) == (len(matching), len(expected))
    assert job.skipped_count == len(matching) - len(expected)
    steps = {text: values for text, values in ran.items() if text.startswith(("\nWITH next", "\nWITH made"))}
    assert len(steps) >= 2
    async with driver(engine) as connection:
        for statement, arguments in steps.items():
            async with connection.transaction(readonly=True):
                await connection.execute(FOR_A_STEP)
                plans = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *arguments)
            nodes = list(nodes_of(plans[0]["Plan"]))
            assert not [node for node in nodes if node["Node Type"] in {"Seq Scan", "Bitmap Heap Scan"}]
            walked = {node["Index Name"] for node in nodes if node.get("Relation Name", "").startswith("final_")}
            assert all("endpoint_id_event_type_event" in name or "pkey" in name for name in walked)


def key_parts(delivery_id: str) -> tuple[UUID, int, int]:
    key = DeliveryKey.parse(delivery_id)
    assert key is not None
    return key.event_uid, key.subscription_id, key.replay_number
