"""/v1/event-types on PostgreSQL, and events of an organization's own types through the real intake."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.engine import connect
from service.adapters.postgres.events.types import EventTypeStore
from service.adapters.system import SystemClock, new_uid
from service.api.app import make_api
from service.api.v1.event_types import EventTypeOperations
from service.api.v1.publishing import PublishEvents
from service.core.endpoints.caps import Caps
from service.core.events.event import Event, parse_event
from service.core.events.own_types.own_type import OWN_TYPES_MAX
from service.core.events.registry import BUILT_IN
from service.core.keys.api_key import NewKey
from service.flow.directory.directory import Directory
from service.flow.intake.intake import Intake
from service.flow.surroundings import Surroundings
from tests.api.conftest import Client, Troubles, envelope
from tests.api.entrance_rig import Told, ask, bearing, make_key, real_entrance, sql
from tests.fakes.administration import Administration
from tests.fakes.clock import ManualClock
from tests.fakes.events import event_of
from tests.fakes.observer import RecordingObserver
from tests.fakes.secret_box import PlainSecretBox

pytestmark = pytest.mark.clock

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["order"],
    "properties": {"order": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}},
}
ORDER = {"name": "order.placed", "description": "A customer placed an order.", "schema": SCHEMA}


@dataclass
class Bench:
    client: Client
    engine: AsyncEngine
    key: NewKey
    intake: Intake
    troubles: Troubles

    async def ask(self, method: str, path: str, *, key: NewKey | None = None, **options: Any) -> Told:
        return await ask(self.client, method, path, headers=bearing(key or self.key), **options)

    async def register(self, *, key: NewKey | None = None, **changes: Any) -> Told:
        return await self.ask("POST", "/v1/event-types", key=key, json={**ORDER, **changes})


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    engine = connect(database_url, pool_size=4)
    clock = SystemClock()
    around = Surroundings(clock, RecordingObserver(), lambda: 0.0, ManualClock().pause)
    intake = Intake(
        PostgresDeliveryStore(engine, worker_name="w", lease_seconds=60),
        Directory(PostgresSubscriptionStore(engine), PlainSecretBox()),
        None,
        new_uid,
        around,
        batch_max=100,
        lease_seconds=60,
    )
    troubles = Troubles()
    operations = [
        *EventTypeOperations(
            EventTypeStore(engine, Caps(event_types_max=OWN_TYPES_MAX)), intake.turns.run, clock.now
        ).operations(),
        PublishEvents(intake.judge, intake.record, clock.now).operation(),
    ]
    app = make_api(operations, real_entrance(engine), troubles)
    async with TestClient(TestServer(app)) as client:
        yield Bench(client, engine, await make_key(engine, "org_a"), intake, troubles)
    await engine.dispose()
    assert not troubles.heard


# --------------------------------------------------------------------------- reading


async def test_the_built_in_types_are_listed_first_each_with_a_sample_that_satisfies_its_schema(bench: Bench) -> None:
    await bench.register()
    listed = (await bench.ask("GET", "/v1/event-types")).json
    assert [each["name"] for each in listed["data"]] == [*BUILT_IN, "order.placed"]
    assert (listed["has_more"], listed["next_cursor"]) == (False, None)
    for each in listed["data"][:-1]:
        assert each["is_builtin"]
        assert each["description"]
        assert each["created_at"] is None
        assert each["sample"]["organization_id"] == "org_a"
        assert each["sample"]["type"] == each["name"]
        Draft202012Validator(each["schema"]).validate(each["sample"]["data"])
    own = listed["data"][-1]
    assert (own["is_builtin"], own["schema"]) == (False, SCHEMA)
    assert (own["sample"]["type"], own["sample"]["organization_id"]) == ("order.placed", "org_a")
    assert own["sample"]["data"] == {"order": {"id": "sample"}}, "made from the schema"
    assert datetime.fromisoformat(own["created_at"]) <= datetime.now(UTC)
    assert (await bench.ask("GET", "/v1/event-types/order.placed")).json == own
    assert (await bench.ask("GET", "/v1/event-types/message.sent")).json["name"] == "message.sent"


async def test_pages_hold_every_type_once(bench: Bench) -> None:
    own = ["a_b.c", "a.b", "order.placed", "order.placed_late", "z.z"]
    for name in own:
        await bench.register(name=name)
    for limit in (1, 2, 5, 6, 7):
        assert await _names_in_pages_of(bench, limit) == [*BUILT_IN, *sorted(own)]


async def _names_in_pages_of(bench: Bench, limit: int) -> list[str]:
    seen: list[str] = []
    path = f"/v1/event-types?limit={limit}"
    while True:
        page = (await bench.ask("GET", path)).json
        assert 1 <= len(page["data"]) <= limit
        seen += [each["name"] for each in page["data"]]
        assert (page["next_cursor"] is not None) == page["has_more"]
        if not page["has_more"]:
            return seen
        path = f"/v1/event-types?limit={limit}&cursor={page['next_cursor']}"


async def test_a_cursor_that_is_none_of_ours(bench: Bench) -> None:
    for cursor in ("x", "", "WyJub25lIl0", "WzFd", "%00", "WyJhXHUwMDAwLmIiXQ", "WyJhLmIiLDFd"):
        told = await bench.ask("GET", f"/v1/event-types?cursor={cursor}")
        assert (told.status, list(told.json["errors"])) == (400, ["cursor"])


async def test_what_is_not_there_is_a_404(bench: Bench) -> None:
    for name in ("no.such", "x", "%00", "a.b%00", "%ED%A0%80", "Message.Sent", "a" * 300, "a.b%2Fc"):
        assert (await bench.ask("GET", f"/v1/event-types/{name}")).status == 404


async def test_types_are_their_organizations_alone(bench: Bench) -> None:
    await bench.register()
    other = await make_key(bench.engine, "org_b")
    assert (await bench.ask("GET", "/v1/event-types/order.placed", key=other)).status == 404
    assert len((await bench.ask("GET", "/v1/event-types", key=other)).json["data"]) == len(BUILT_IN)
    assert (await bench.register(key=other, schema={"type": "object"})).status == 201
    assert await EventTypeStore(bench.engine).names("org_b") == {"order.placed"}


async def test_scopes(bench: Bench) -> None:
    reader = await make_key(bench.engine, "org_a", ["read", "write", "publish"])
    assert (await bench.register(key=reader)).status == 403
    assert (await bench.ask("GET", "/v1/event-types", key=reader)).status == 200


# --------------------------------------------------------------------------- registering


async def test_registering_again_changes_nothing(bench: Bench) -> None:
    first = await bench.register()
    assert first.status == 201
    assert first.json["schema"] == SCHEMA
    version = await sql(bench.engine, "SELECT directory_version FROM organizations WHERE id = 'org_a'")
    again = await bench.register(description="Otherwise.", schema=dict(reversed(SCHEMA.items())))
    assert (again.status, again.json) == (200, first.json)
    assert version == await sql(bench.engine, "SELECT directory_version FROM organizations WHERE id = 'org_a'")
    other = await bench.register(schema={"type": "object"})
    assert (other.status, other.json["code"], list(other.json["errors"])) == (409, "CONFLICT", ["name"])


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        (
            {"type": "message.sendt", "timestamp": "x", "organization_id": "org_z"},
            {"id", "type", "timestamp", "organization_id", "data"},
        ),
        (
            envelope("e.1", type="order.placed", timestamp="noon", data={"order": {"id": 7}}),
            {"id", "timestamp", "data.order.id"},
        ),
        (
            envelope(type="order.placed", organization_id="org_z", data={"order": {}}),
            {"organization_id", "data.order.id"},
        ),
        (envelope(type="order.placed", organization_id="org_z", data=None), {"organization_id", "data"}),
        (envelope(type="order.placed", organization_id="org_z", data=[]), {"organization_id", "data"}),
        (
            envelope(organization_id="org_z", data={"link": {"url": 1}}),
            {"organization_id", "data.link.url", "data.message.id", "data.click.id", "data.click.clicked_at"},
        ),
        (envelope("e.1", type="endpoint.failing", data={}), {"id", "type"}),
    ],
    ids=["a typo", "own type", "foreign own type", "no data", "no object", "foreign built-in type", "reserved type"],
)
async def test_type_data_and_organization_are_judged_whatever_else_is_wrong(
    bench: Bench, wrong: dict[str, Any], fields: set[str]
) -> None:
    await bench.register()
    other = await make_key(bench.engine, "org_z")
    await bench.register(key=other, schema={"required": ["secret"]})
    fine = envelope("evt_2")
    alone = await bench.ask("POST", "/v1/events", json=wrong)
    assert (alone.status, alone.json["errors"].keys()) == (400, fields)
    batch = await bench.ask("POST", "/v1/events", json={"events": [fine, wrong, {**fine, "type": "no.such"}]})
    assert batch.json["errors"].keys() == {"events[2].id", "events[2].type", *(f"events[1].{each}" for each in fields)}
    if wrong["type"] == "message.sendt":
        assert alone.json["errors"]["type"][0].endswith("did you mean 'message.sent'?")
    assert await sql(bench.engine, "SELECT count(*) FROM events") == 0


PATTERN: dict[str, Any] = {"required": ["sku"], "properties": {"sku": {"type": "string", "pattern": "^[A-Z]{3}$"}}}


async def test_a_sample_that_is_given_is_kept_if_the_schema_allows_it(bench: Bench) -> None:
    wrong = await bench.register(schema=PATTERN, sample={"sku": "abc", "n": 1})
    assert (wrong.status, list(wrong.json["errors"])) == (400, ["sample.sku"])
    made = await bench.register(name="a." + "b" * 62, schema=PATTERN, sample={"sku": "ABC"})
    assert (made.status, made.json["sample"]["data"]) == (201, {"sku": "ABC"})
    assert isinstance(parse_event(json.dumps(made.json["sample"]).encode(), datetime.now(UTC)), Event)


async def test_a_type_without_a_sample_can_be_given_one_and_keeps_it(bench: Bench) -> None:
    first = await bench.register(schema=PATTERN)
    assert (first.status, first.json["sample"]) == (201, None)
    version = await sql(bench.engine, "SELECT directory_version FROM organizations WHERE id = 'org_a'")
    assert (await bench.register(schema=PATTERN)).json["sample"] is None
    later = await bench.register(schema=PATTERN, sample={"sku": "ABC"})
    assert (later.status, later.json["sample"]["data"]) == (200, {"sku": "ABC"})
    assert (await bench.register(schema=PATTERN)).json == later.json
    assert (await bench.register(schema=PATTERN, sample={"sku": "ABC"})).json == later.json
    other = await bench.register(schema=PATTERN, sample={"sku": "DEF"})
    assert (other.status, list(other.json["errors"])) == (409, ["sample"])
    assert version == await sql(bench.engine, "SELECT directory_version FROM organizations WHERE id = 'org_a'")
    told = await sql(
        bench.engine, "SELECT array_agg(after->>'sample' ORDER BY at) FROM audit_log WHERE object_id = 'order.placed'"
    )
    assert told == [None, '{"sku":"ABC"}']


async def test_a_built_in_name_is_taken(bench: Bench) -> None:
    told = await bench.register(name="message.sent")
    assert (told.status, told.json["code"]) == (409, "CONFLICT")


async def test_many_at_once_register_one(bench: Bench) -> None:
    told = await asyncio.gather(*(bench.register() for _ in range(5)))
    assert sorted(each.status for each in told) == [200] * 4 + [201]


async def test_there_is_an_end_to_it(bench: Bench) -> None:
    await sql(
        bench.engine,
        "INSERT INTO event_types SELECT 'org_a', 'order.number_' || n, '', '{}' FROM generate_series(2, $1) n",
        OWN_TYPES_MAX,
    )
    told = await asyncio.gather(bench.register(name="a.one"), bench.register(name="a.two"))
    assert sorted(each.status for each in told) == [201, 409]
    (refused,) = [each for each in told if each.status == 409]
    sentence = "an organization can have 200 event types at most: register no more, or ask the operator for more"
    assert refused.json["errors"] == {"name": [sentence]}
    assert (await bench.register(name="order.number_2", schema={})).status == 200


BAD: Any = [
    ({"name": "order"}, ["name"]),
    ({"name": "Order.placed"}, ["name"]),
    ({"name": "order.placed\n"}, ["name"]),
    ({"name": "order.\0"}, ["name"]),
    ({"name": "endpoint.disabled"}, ["name"]),
    ({"name": "delivery.dead", "schema": 7}, ["name", "schema"]),
    ({"name": "a." + "b" * 63}, ["name"]),
    ({"name": 1, "description": 2}, ["description", "name"]),
    ({"description": "\0"}, ["description"]),
    ({"description": "x" * 1001}, ["description"]),
    ({"schema": []}, ["schema"]),
    ({"schema": None}, ["schema"]),
    ({"schema": {"type": "text"}}, ["schema.type"]),
    ({"schema": {"$ref": "http://169.254.169.254/"}}, ["schema.$ref"]),
    ({"schema": {"properties": {"a": {"pattern": "(?=a)"}}}}, ["schema.properties.a.pattern"]),
    ({"schema": {"title": "\0"}}, ["schema.title"]),
    ({"schema": {"title": "x" * 33_000}}, ["schema"]),
    ({"extra": 1}, ["extra"]),
]


async def test_what_cannot_be_registered(bench: Bench) -> None:
    for changes, fields in BAD:
        told = await bench.register(**changes)
        assert (told.status, sorted(told.json["errors"])) == (400, fields)
    assert (await bench.register(schema={"maximum": 10**400})).status == 201


async def test_hostile_json_is_a_400(bench: Bench) -> None:
    headers = {**bearing(bench.key), "Content-Type": "application/json"}
    deep = '{"not":' * 5000 + "{}" + "}" * 5000
    for schema in (
        '{"title":"\\ud800"}',
        '{"\\ud800":1}',
        deep,
        '{"minimum":1e999}',
        '{"a":NaN}',
        '{"a":1' + "0" * 5000 + "}",
    ):
        body = f'{{"name":"a.b","schema":{schema}}}'
        assert (await ask(bench.client, "POST", "/v1/event-types", data=body, headers=headers)).status == 400


# --------------------------------------------------------------------------- publishing


def _order(event_id: str, order: object, **changes: Any) -> dict[str, Any]:
    return envelope(event_id, type="order.placed", data={"order": order}, **changes)


async def _publish(bench: Bench, *events: dict[str, Any], key: NewKey | None = None) -> Told:
    body = {"events": list(events)} if len(events) > 1 else events[0]
    return await bench.ask("POST", "/v1/events", json=body, key=key)


async def test_from_registration_to_a_recorded_delivery(bench: Bench) -> None:
    assert (await _publish(bench, _order("evt_0", {"id": "ord_1"}))).status == 400  # and the directory is in memory
    assert (await bench.register()).status == 201
    administration = Administration(bench.engine, PlainSecretBox())
    await administration.add_endpoint("org_a", "https://a.example/", ["order.placed"])
    told = await _publish(bench, _order("evt_1", {"id": "ord_1"}), envelope("evt_2"))
    assert [(each["id"], each["status"]) for each in told.json["data"]] == [
        ("evt_1", "accepted"),
        ("evt_2", "accepted"),
    ]
    assert await sql(bench.engine, "SELECT array_agg(event_id) FROM deliveries") == ["evt_1"]
    body = await sql(bench.engine, "SELECT body FROM events WHERE event_id = 'evt_1'")
    assert json.loads(body)["data"] == {"order": {"id": "ord_1"}}


async def test_one_event_that_its_schema_is_against_spoils_the_batch_and_everything_wrong_is_named(
    bench: Bench,
) -> None:
    await bench.register()
    told = await _publish(
        bench,
        _order("evt_1", {"id": "ord_1"}),
        _order("evt_2", {"id": 7}),
        envelope("evt_3", type="order.shipped"),
        envelope("e.4"),
        envelope("evt_5", data={}),
    )
    assert told.status == 400
    assert sorted(told.json["errors"]) == [
        "events[1].data.order.id",
        "events[2].type",
        "events[3].id",
        *(f"events[4].data.{path}" for path in ("click.clicked_at", "click.id", "link.url", "message.id")),
    ]
    assert "4 of 5" in told.json["error"]
    assert await sql(bench.engine, "SELECT count(*) FROM events") == 0


async def test_another_organizations_type_cannot_be_published(bench: Bench) -> None:
    await bench.register()
    other = await make_key(bench.engine, "org_b")
    told = await _publish(bench, _order("evt_1", {"id": "x"}, organization_id=None), key=other)
    assert (told.status, list(told.json["errors"])) == (400, ["type"])


async def test_a_message_of_an_own_type_is_found_by_its_id(bench: Bench) -> None:
    await bench.register(name="message.edited", schema={})
    await _publish(
        bench, envelope("evt_1", type="message.edited", data={"message": {"id": "msg_7"}}), envelope("evt_2")
    )
    rows = await sql(bench.engine, "SELECT array_agg(message_id ORDER BY event_id) FROM events")
    assert rows == ["msg_7", "msg_1"]


async def test_a_test_send_is_one_delivery_on_postgresql(bench: Bench) -> None:
    administration = Administration(bench.engine, PlainSecretBox())
    await administration.add_endpoint("org_a", "https://a.example/", ["message.sent"])
    made = await administration.add_endpoint("org_a", "https://b.example/", ["message.failed", "message.sent"])
    event = event_of(organization_id="org_a", test=True)
    key = await bench.intake.send_test(event, made.id)
    assert key is not None
    row = await sql(bench.engine, "SELECT (endpoint_id, state, event_id) FROM deliveries")
    assert tuple(row) == (made.id, "pending", event.id)
    assert await sql(bench.engine, "SELECT is_test FROM events")
    assert await bench.intake.send_test(event_of(id="evt_2", organization_id="org_b"), made.id) is None
