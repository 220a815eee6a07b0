"""The audit log over HTTP: every change leaves an entry, nothing else does, and no entry holds a secret."""

import base64
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.adapters.postgres.engine import driver
from tests.api.entrance_rig import make_key, sql
from tests.api.tenancy import Territory, path_of, routes_of
from tests.api.whole_rig import OTHER_PARTS, OWNER, STRANGER, SUBSCRIBERS, Things, Whole, make_things, whole_on
from tests.end_to_end.known_ids import END_ALL, all_operations

SECRET = "whsec_" + base64.b64encode(b"a secret that nobody may read..").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"another one of which that holds").decode()
HEADER_VALUE = "Basic-cHJpdmF0ZS1wYXNz"
TOKEN = "t0psecret-in-the-query"

LEAVE_NO_ENTRY = {
    "publish_events": "events are the traffic itself, recorded as such",
    "test_endpoint": "so is a test event",
    "check_endpoint": "it stores nothing",
}
BODIES: dict[str, object] = {"create_replay": {"event_type": "message.sent"}}
"""Where the example of an operation changes nothing."""
ON_V2 = {
    ("POST", f"{SUBSCRIBERS}{{suffix}}"): {"resthook": "link.clicked", "target_url": "https://two.example/"},
    ("DELETE", f"{SUBSCRIBERS}{{suffix}}"): None,
    ("DELETE", f"{SUBSCRIBERS}/{{id}}{{suffix}}"): None,
}


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole
        assert not whole.troubles.heard


@pytest.fixture
async def things(whole: Whole) -> Things:
    things = await make_things(whole)
    await sql(whole.engine, END_ALL)  # so that they can be replayed
    return things


async def count(whole: Whole) -> int:
    found: int = await sql(whole.engine, "SELECT count(*) FROM audit_log")
    return found


async def entries(whole: Whole, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await whole.made("GET", f"/v1/audit{query}", None))["data"]
    return found


async def test_every_operation_of_v1_that_changes_something_leaves_an_entry(whole: Whole, things: Things) -> None:
    """A new operation fails here until it has one, or a reason to have none."""
    territory = Territory(owned=things.by_template, shared=OTHER_PARTS)
    changing = [each for each in all_operations() if each.method != "GET"]
    leaked = await make_key(whole.engine, OWNER)
    bodies = {**BODIES, "revoke_leaked_key": {"key": leaked.text}}
    assert LEAVE_NO_ENTRY.keys() <= {each.name for each in changing}
    silent = []
    places = {"replay_delivery": -1, **{each.name: 1 for each in changing if each.method == "DELETE"}}
    for each in sorted(changing, key=lambda each: places.get(each.name, 0)):  # while its subscription is there
        before = await count(whole)
        await whole.made(each.method, path_of(each.path, territory), bodies.get(each.name, each.example))
        made = await entries(whole, f"?limit={await count(whole) - before}") if await count(whole) > before else []
        if bool(made) == (each.name in LEAVE_NO_ENTRY):
            silent.append(each.name)
        for entry in made:
            by = leaked if each.name == "revoke_leaked_key" else whole.keys[OWNER]  # all that is known of who has it
            assert entry["actor"] == {"kind": "api_key", "id": by.key_id, "address": "127.0.0.1"}
    assert silent == []


async def test_every_change_over_v2_leaves_an_entry(whole: Whole, things: Things) -> None:
    assert await changing_on_v2(whole) == ON_V2.keys()
    subscribers = f"{SUBSCRIBERS}.json"
    made = await whole.made("POST", subscribers, ON_V2["POST", f"{SUBSCRIBERS}{{suffix}}"])
    (created, *_) = await entries(whole)
    assert (created["operation"], created["after"]["event_types"]) == ("endpoint.create", ["link.clicked"])
    await whole.made("POST", subscribers, {"resthook": "message.delivered", "target_url": "https://two.example/"})
    (added, *_) = await entries(whole)
    assert added["operation"] == "endpoint.subscribe"
    assert (added["before"], added["after"]) == (
        {"event_types": ["link.clicked"]},
        {"event_types": ["link.clicked", "message.delivered"]},
    )
    await whole.made("DELETE", f"{subscribers}?id={made['id']}", None)
    (ended, *_) = await entries(whole)
    assert (ended["operation"], ended["after"]) == ("endpoint.unsubscribe", {"event_types": ["message.delivered"]})
    last = (await whole.made("GET", f"{subscribers}?resthook=message.delivered", None))["results"][0]
    await whole.made("DELETE", f"{SUBSCRIBERS}/{last['id']}.json", None)
    (gone, *_) = await entries(whole)
    assert (gone["operation"], gone["object_id"], gone["after"]) == ("endpoint.unsubscribe", created["object_id"], None)
    assert gone["actor"]["id"] == whole.keys[OWNER].key_id


async def changing_on_v2(whole: Whole) -> set[tuple[str, str]]:
    """Each method that is not a read, as OPTIONS tells it."""
    found = set()
    for template in {template for _, template in routes_of(whole.application) if template.startswith("/api/v2")}:
        path = re.sub(r"\{suffix[^}]*\}", ".json", template)
        path = re.sub(r"\{name[^}]*\}", "page.css", re.sub(r"\{id[^}]*\}", "1", path))
        told = await whole.ask("OPTIONS", path)
        assert "Allow" in told.headers, (path, told.status)
        allowed = set(told.headers["Allow"].split(", ")) - {"GET", "HEAD", "OPTIONS"}
        found |= {(method, re.sub(r"\{(\w+)[^}]*\}", r"{\1}", template)) for method in allowed}
    return found


async def test_no_entry_holds_a_secret(whole: Whole) -> None:
    """After all that an endpoint and a key can go through, over both surfaces."""
    url = f"https://s.example/hook?token={TOKEN}&{TOKEN[::-1]}"
    asked = {"url": url, "event_types": ["message.sent"], "headers": {"X-Pass": HEADER_VALUE}, "secret": SECRET}
    made = await whole.made("POST", "/v1/endpoints", asked)
    path = f"/v1/endpoints/{made['id']}"
    rotated = await whole.made("POST", f"{path}/rotate-secret", {})
    await whole.made("POST", f"{path}/rotate-secret", {"secret": OTHER_SECRET, "overlap_seconds": 0})
    await whole.made("PATCH", path, {"headers": {"X-Pass": HEADER_VALUE[::-1]}, "url": f"{url}&again={TOKEN}"})
    auth = {"type": "oauth2", "token_url": f"https://t.example/?k={TOKEN}", "client_id": "c", "client_secret": SECRET}
    for each in (auth, {**auth, "client_secret": OTHER_SECRET}, None):
        await whole.made("PATCH", path, {"auth": each})
    await whole.made("POST", f"{path}/pause", None)
    await whole.made("POST", f"{path}/recover", {"since": "2026-01-01T00:00:00Z", "resume": True})
    subscriber = {"resthook": "link.clicked", "target_url": f"https://two.example/?key={TOKEN}"}
    subscribed = await whole.made("POST", f"{SUBSCRIBERS}.json", subscriber)
    await whole.made("DELETE", f"{SUBSCRIBERS}.json?id={subscribed['id']}", None)
    key = await whole.made("POST", "/v1/keys", {"scopes": ["read"], "name": "mine"})
    other = await whole.made("POST", f"/v1/keys/{key['id']}/rotate", {})
    await whole.made("DELETE", f"/v1/keys/{other['id']}", None)
    await whole.made("DELETE", path, None)
    kept = await log_of(whole)
    assert made["id"] in kept
    assert "https://s.example/hook?***" in kept
    assert kept.count("https://t.example/?***") == 4, "made, changed twice, and gone"
    secrets = [SECRET, OTHER_SECRET, rotated["secret"], subscribed["secret"], HEADER_VALUE, HEADER_VALUE[::-1]]
    texts = [each["key"] for each in (key, other)] + [each.text for each in whole.keys.values()]
    for secret in (*secrets, TOKEN, TOKEN[::-1], *(text.split("_", 3)[3] for text in texts)):
        text = secret.removeprefix("whsec_")
        for form in (text, text.encode().hex(), base64.b64encode(text.encode()).decode().rstrip("=")):
            assert form not in kept


async def log_of(whole: Whole) -> str:
    async with driver(whole.engine) as connection:
        return "\n".join(row[0] for row in await connection.fetch("SELECT t::text FROM audit_log t"))


async def test_a_replayed_answer_leaves_no_second_entry(whole: Whole) -> None:
    asked = {"url": "https://s.example/", "event_types": ["message.sent"]}
    made = [await whole.made("POST", "/v1/endpoints", asked, **{"Idempotency-Key": "once"}) for _ in range(2)]
    assert made[0] == made[1]
    rotate = f"/v1/endpoints/{made[0]['id']}/rotate-secret"
    await whole.made("POST", rotate, {}, **{"Idempotency-Key": "once"})
    before = await count(whole)
    await whole.made("POST", rotate, {}, **{"Idempotency-Key": "once"})
    assert await count(whole) == before
    assert [each["operation"] for each in await entries(whole, f"?object_id={made[0]['id']}")] == [
        "endpoint.rotate_secret",
        "endpoint.create",
    ]


async def test_what_is_refused_or_changes_nothing_leaves_none(whole: Whole, things: Things) -> None:
    endpoint, unknown = f"/v1/endpoints/{things.endpoint_id}", "/v1/endpoints/ep_unknown"
    reader = await make_key(whole.engine, OWNER, ["read"])
    await whole.made("POST", f"{endpoint}/pause", None)
    await whole.made("POST", "/v1/event-types", {"name": "a.known", "schema": {}})
    before = await count(whole)
    for method, path, body, status in (
        ("POST", "/v1/endpoints", {"url": "https://10.0.0.1/", "event_types": ["*"]}, 400),
        ("POST", "/v1/endpoints", {"url": "https://mine.example/hook", "event_types": ["*"]}, 409),
        ("PATCH", endpoint, {"timeout_seconds": -1}, 400),
        ("PATCH", endpoint, {"event_types": ["message.sent", things.event_type]}, 200),
        ("PATCH", unknown, {"description": "new"}, 404),
        ("POST", f"{endpoint}/pause", None, 200),
        ("POST", f"{endpoint}/rotate-secret", {"secret": "whsec_!"}, 400),
        ("DELETE", unknown, None, 404),
        ("POST", "/v1/event-types", {"name": "a.known", "schema": {}}, 200),
        ("POST", "/v1/event-types", {"name": "a.known", "schema": {"type": "null"}}, 409),
        ("POST", "/v1/replays", {"endpoint_id": things.endpoint_id, "dry_run": True}, 200),
        ("POST", f"/v1/replays/{things.replay_id}/resume", None, 200),
        ("POST", f"{SUBSCRIBERS}.json", {"resthook": "nothing", "target_url": "https://t.example/"}, 400),
        ("DELETE", f"{SUBSCRIBERS}.json?id=999", None, 404),
    ):
        told = await whole.ask(method, path, json=body)
        assert told.status == status, (method, path, told.body)
    for method, path, by in (("DELETE", endpoint, STRANGER), ("POST", f"{endpoint}/resume", STRANGER)):
        assert (await whole.ask(method, path, by=by)).status == 404
    bearer = {"Authorization": f"Bearer {reader.text}"}
    async with whole.client.delete(endpoint, headers=bearer) as refused:
        assert refused.status == 403
    assert await count(whole) == before


async def test_deleting_again_leaves_no_second_entry(whole: Whole, things: Things) -> None:
    for _ in range(2):
        await whole.made("DELETE", f"/v1/endpoints/{things.endpoint_id}", None)
    deleted = await entries(whole, "?operation=endpoint.delete")
    assert [each["object_id"] for each in deleted] == [things.endpoint_id]
    assert deleted[0]["after"] is None
    assert deleted[0]["before"]["url"] == "https://mine.example/hook"
    assert deleted[0]["before"]["headers"] == {"X-Pass": "***"}


async def test_an_entry_says_what_was_changed_from_what_to_what(whole: Whole, things: Things) -> None:
    await whole.made("PATCH", f"/v1/endpoints/{things.endpoint_id}", {"timeout_seconds": 10, "description": "new"})
    (entry, *_) = await entries(whole)
    assert entry.keys() == {"id", "at", "operation", "object_id", "actor", "before", "after"}
    assert (entry["operation"], entry["object_id"]) == ("endpoint.update", things.endpoint_id)
    assert entry["before"] == {"timeout_seconds": None, "description": ""}
    assert entry["after"] == {"timeout_seconds": 10.0, "description": "new"}


async def test_the_log_is_paged_and_filtered(whole: Whole, things: Things) -> None:
    for _ in range(3):
        await whole.made("POST", f"/v1/endpoints/{things.endpoint_id}/pause", None)
        await whole.made("POST", f"/v1/endpoints/{things.endpoint_id}/resume", None)
    every = await entries(whole)
    assert [each["operation"] for each in every[:3]] == ["endpoint.resume", "endpoint.pause", "endpoint.resume"]
    page = await whole.made("GET", "/v1/audit?limit=4", None)
    seen = page["data"]
    while page["has_more"]:
        page = await whole.made("GET", f"/v1/audit?limit=4&cursor={page['next_cursor']}", None)
        seen += page["data"]
    assert seen == every
    assert len(await entries(whole, "?operation=endpoint.pause")) == 3
    assert len(await entries(whole, f"?object_id={things.endpoint_id}&operation=endpoint.create")) == 1
    assert await entries(whole, "?actor_id=nobody") == []
    assert await entries(whole, f"?actor_id={whole.keys[OWNER].key_id}&since={every[0]['at']}") == every[:1]
    assert await entries(whole, f"?until={every[-1]['at']}") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("operation=endpoint.frobnicate", "operation"),
        ("since=yesterday", "since"),
        ("cursor=abc", "cursor"),
        ("limit=0", "limit"),
        ("object_id=%00", "object_id"),
        ("actor=x", "actor"),
    ],
)
async def test_what_cannot_be_asked_for_is_named(whole: Whole, query: str, field: str) -> None:
    told = await whole.ask("GET", f"/v1/audit?{query}")
    assert (told.status, list(told.json["errors"])) == (400, [field])


async def test_only_admins_read_it_and_each_its_own_organizations(whole: Whole, things: Things) -> None:
    key = await make_key(whole.engine, OWNER, ["read", "write", "publish"])
    async with whole.client.get("/v1/audit", headers={"Authorization": f"Bearer {key.text}"}) as refused:
        assert refused.status == 403
    told = (await whole.ask("GET", f"/v1/audit?object_id={things.endpoint_id}", by=STRANGER)).json
    assert told["data"] == []
