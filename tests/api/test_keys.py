"""/v1/keys: shown once, never more than the key that asks has, followed by another one, revoked."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.adapters.postgres.requests import keys as key_store
from service.core.keys.api_key import NewKey
from tests.api.entrance_rig import Told, ask, bearing, make_key, sql
from tests.api.whole_rig import OWNER, STRANGER, Whole, whole_on

pytestmark = pytest.mark.clock


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole
        assert not whole.troubles.heard


async def asked_with(whole: Whole, text: str, method: str, path: str, **options: Any) -> Told:
    headers = {"Authorization": f"Bearer {text}", **options.pop("headers", {})}
    return await ask(whole.client, method, path, headers=headers, **options)


async def test_a_key_is_shown_once_and_listed_by_how_it_begins_and_ends(whole: Whole) -> None:
    asked = {"scopes": ["write", "read"], "name": "zapier", "expires_in_days": 90}
    made = await whole.made("POST", "/v1/keys", asked)
    assert (made["scopes"], made["name"], made["last_used_at"]) == (["read", "write"], "zapier", None)
    lives = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert lives == timedelta(days=90)
    assert made["hint"] == f"ph_live_{made['id']}_…{made['key'][-4:]}"
    me = await asked_with(whole, made["key"], "GET", "/v1/me")
    assert (me.json["key"]["id"], me.json["key"]["scopes"]) == (made["id"], ["read", "write"])
    shown = (await whole.ask("GET", f"/v1/keys/{made['id']}")).json
    assert shown["last_used_at"] is not None
    listed = (await whole.ask("GET", "/v1/keys?limit=1")).json
    assert listed["data"] == [shown]
    rest = (await whole.ask("GET", f"/v1/keys?cursor={listed['next_cursor']}")).json
    assert [each["id"] for each in rest["data"]] == [whole.keys[OWNER].key_id]
    for answer in (shown, listed, rest):
        assert made["key"].split("_", 3)[3] not in str(answer)


@pytest.mark.parametrize(
    ("body", "field", "word"),
    [
        ({}, "scopes", "required"),
        ({"scopes": []}, "scopes", "at least 1"),
        ({"scopes": ["read", "wrte"]}, "scopes[1]", "did you mean 'write'?"),
        ({"scopes": ["read"], "name": "a\nb"}, "name", "printable"),
        ({"scopes": ["read"], "name": "x" * 201}, "name", "200"),
        ({"scopes": ["read"], "expires_in_days": 0}, "expires_in_days", "1"),
        ({"scopes": ["read"], "rate_limit_per_hour": 10**9}, "rate_limit_per_hour", "not a known field"),
    ],
)
async def test_what_a_key_cannot_be(whole: Whole, body: dict[str, object], field: str, word: str) -> None:
    told = await whole.ask("POST", "/v1/keys", json=body)
    assert told.status == 400
    assert word in told.json["errors"][field][0]


async def test_only_admin_sees_and_makes_keys(whole: Whole) -> None:
    other = await make_key(whole.engine, OWNER, ("read", "write", "publish"))
    path = f"/v1/keys/{other.key_id}"
    for method, each in (("GET", "/v1/keys"), ("POST", "/v1/keys"), ("GET", path), ("DELETE", path)):
        told = await asked_with(whole, other.text, method, each, json={"scopes": ["read"]})
        assert (told.status, told.json["code"]) == (403, "PERMISSION_DENIED"), (method, each)


async def test_a_key_cannot_give_more_than_it_has(whole: Whole) -> None:
    wide = await make_key(whole.engine, OWNER, ("publish", "read"))
    narrow = await make_key(whole.engine, OWNER, ("admin", "read"), expires_in=timedelta(days=2))

    async def refused(path: str, body: dict[str, object]) -> set[str]:
        told = await asked_with(whole, narrow.text, "POST", path, json=body)
        assert (told.status, told.json["code"]) == (403, "PERMISSION_DENIED")
        return set(told.json["errors"])

    assert await refused("/v1/keys", {"scopes": ["read", "publish"], "expires_in_days": 1}) == {"scopes"}
    assert await refused("/v1/keys", {"scopes": ["read"]}) == {"expires_in_days"}
    assert await refused("/v1/keys", {"scopes": ["read"], "expires_in_days": 3}) == {"expires_in_days"}
    assert await refused(f"/v1/keys/{wide.key_id}/rotate", {"expires_in_days": 1}) == {"scopes"}
    assert await refused(f"/v1/keys/{narrow.key_id}/rotate", {"expires_in_days": 9}) == {"expires_in_days"}
    made = await asked_with(
        whole, narrow.text, "POST", "/v1/keys", json={"scopes": ["admin", "read"], "expires_in_days": 1}
    )
    assert made.status == 201
    itself = await asked_with(whole, narrow.text, "POST", f"/v1/keys/{narrow.key_id}/rotate", json={})
    assert itself.status == 201
    # What takes rights away needs none of them.
    assert (await asked_with(whole, narrow.text, "DELETE", f"/v1/keys/{wide.key_id}")).status == 204


async def test_a_key_with_a_limit_of_its_own_shares_it_with_those_that_it_makes(whole: Whole) -> None:
    giver = await make_key(whole.engine, OWNER, ("admin", "read"), rate_limit_per_hour=10)
    body = {"scopes": ["admin", "read"]}
    child = (await asked_with(whole, giver.text, "POST", "/v1/keys", json=body)).json
    grandchild = (await asked_with(whole, child["key"], "POST", "/v1/keys", json=body)).json
    path = f"/v1/keys/{grandchild['id']}/rotate"
    rotated = (await asked_with(whole, grandchild["key"], "POST", path, json={})).json
    assert [each["rate_limit_per_hour"] for each in (child, grandchild, rotated)] == [10, 10, 10]
    last = await asked_with(whole, rotated["key"], "GET", "/v1/me")
    assert (last.headers["X-RateLimit-Limit"], last.headers["X-RateLimit-Remaining"]) == ("10", "6")
    assert (await whole.made("POST", "/v1/keys", {"scopes": ["read"]}))["rate_limit_per_hour"] is None


async def test_a_stored_answer_gives_nobody_a_key_that_it_could_not_make(whole: Whole) -> None:
    narrow = await make_key(whole.engine, OWNER, ("admin",))
    body, named = {"scopes": ["publish"]}, {"Idempotency-Key": "one"}
    made = await whole.ask("POST", "/v1/keys", json=body, headers=named)
    again = await whole.ask("POST", "/v1/keys", json=body, headers=named)
    assert (again.status, again.body) == (201, made.body)
    refused = await asked_with(whole, narrow.text, "POST", "/v1/keys", json=body, headers=named)
    assert (refused.status, refused.json["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_a_key_that_rotates_itself_can_have_the_lost_answer_again(whole: Whole) -> None:
    path, named = f"/v1/keys/{whole.keys[OWNER].key_id}/rotate", {"Idempotency-Key": "one"}
    made = await whole.ask("POST", path, json={}, headers=named)
    again = await whole.ask("POST", path, json={}, headers=named)
    assert (made.status, again.status, again.body) == (201, 201, made.body)


async def test_a_rotated_key_is_valid_for_the_overlap_and_then_no_more(whole: Whole) -> None:
    old = await make_key(whole.engine, OWNER, ("read",), name="crm", rate_limit_per_hour=50)
    made = await whole.made("POST", f"/v1/keys/{old.key_id}/rotate", {"overlap_seconds": 3600, "expires_in_days": 30})
    assert (made["replaces"], made["name"], made["scopes"]) == (old.key_id, "crm", ["read"])
    first = await asked_with(whole, old.text, "GET", "/v1/me")
    second = await asked_with(whole, made["key"], "GET", "/v1/me")
    # They share the limit: rotating gains no requests.
    assert [each.headers["X-RateLimit-Remaining"] for each in (first, second)] == ["49", "48"]
    shown = (await whole.ask("GET", f"/v1/keys/{old.key_id}")).json
    assert (shown["replaced_by"], shown["expires_at"]) == (made["id"], made["overlap_ends_at"])
    wait = datetime.fromisoformat(shown["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert wait == timedelta(hours=1)
    third = await whole.made("POST", f"/v1/keys/{made['id']}/rotate", {"overlap_seconds": 0})
    assert third["expires_at"] == made["expires_at"]
    ended = await asked_with(whole, made["key"], "GET", "/v1/me")
    assert (ended.status, ended.json["error"]) == (401, "the API key was revoked")
    still = await asked_with(whole, third["key"], "GET", "/v1/me")
    assert still.headers["X-RateLimit-Remaining"] == "47"
    again = await whole.ask("POST", f"/v1/keys/{made['id']}/rotate", json={})
    assert (again.status, again.json["code"]) == (409, "CONFLICT")
    assert f"rotate {third['id']}" in again.json["error"]


async def test_a_key_that_was_rotated_is_followed_by_one_key_only(whole: Whole) -> None:
    old = await make_key(whole.engine, OWNER, ("read",))
    path = f"/v1/keys/{old.key_id}"
    made = await whole.made("POST", f"{path}/rotate", {"overlap_seconds": 3600})
    again = await whole.ask("POST", f"{path}/rotate", json={"overlap_seconds": 0})
    assert (again.status, again.json["code"]) == (409, "CONFLICT")
    assert again.json["error"].endswith(f"was rotated already; rotate {made['id']}, which follows it")
    shown = (await whole.ask("GET", path)).json
    assert (shown["replaced_by"], shown["expires_at"]) == (made["id"], made["overlap_ends_at"])
    assert (await whole.made("POST", f"/v1/keys/{made['id']}/rotate", {}))["expires_at"] is None


async def test_an_overlap_does_not_make_a_key_live_longer(whole: Whole) -> None:
    old = await make_key(whole.engine, OWNER, ("read",), expires_in=timedelta(hours=1))
    before = (await whole.ask("GET", f"/v1/keys/{old.key_id}")).json["expires_at"]
    made = await whole.made("POST", f"/v1/keys/{old.key_id}/rotate", {"overlap_seconds": 86_400})
    assert made["overlap_ends_at"] == made["expires_at"] == before


async def test_a_revoked_key_is_refused_from_its_next_request_on(whole: Whole) -> None:
    made = await whole.made("POST", "/v1/keys", {"scopes": ["read"]})
    assert (await asked_with(whole, made["key"], "GET", "/v1/me")).status == 200
    for _ in range(2):
        assert (await whole.ask("DELETE", f"/v1/keys/{made['id']}")).status == 204
    assert (await asked_with(whole, made["key"], "GET", "/v1/me")).status == 401
    assert (await whole.ask("GET", f"/v1/keys/{made['id']}")).json["revoked_at"] is not None
    rotation = await whole.ask("POST", f"/v1/keys/{made['id']}/rotate", json={})
    assert (rotation.status, rotation.json["error"]) == (409, "this API key is no longer valid; create a new one")


@pytest.mark.parametrize("key_id", ["0" * 16, "nonsense", "%00", "ph_live_0011223344556677_mistyped"])
async def test_keys_that_are_not_there(whole: Whole, key_id: str) -> None:
    for method, action in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
        told = await whole.ask(method, f"/v1/keys/{key_id}{action}")
        assert told.status == 404
        assert "mistyped" not in told.body.decode()


async def test_however_many_ask_at_once_there_are_no_more_keys_than_there_may_be(
    whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_store, "KEYS_MAX", 8)
    told = await asyncio.gather(*(whole.ask("POST", "/v1/keys", json={"scopes": ["read"]}) for _ in range(20)))
    statuses = [each.status for each in told]
    assert (statuses.count(201), statuses.count(409)) == (7, 13)
    (last,) = [each for each in told if each.status == 201][-1:]
    rotation = await whole.ask("POST", f"/v1/keys/{last.json['id']}/rotate", json={})
    assert rotation.status == 409
    assert "limit of" in rotation.json["error"]
    assert (await whole.ask("DELETE", f"/v1/keys/{last.json['id']}")).status == 204
    assert (await whole.ask("POST", "/v1/keys", json={"scopes": ["read"]})).status == 201
    assert (await whole.ask("POST", "/v1/keys", json={"scopes": ["read"]}, by=STRANGER)).status == 201


async def test_a_key_that_follows_at_once_needs_no_room(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await whole.made("POST", "/v1/keys", {"scopes": ["read"]})
    monkeypatch.setattr(key_store, "KEYS_MAX", 2)
    path = f"/v1/keys/{made['id']}/rotate"
    assert (await whole.ask("POST", path, json={"overlap_seconds": 1})).status == 409
    await whole.made("POST", path, {"overlap_seconds": 0})
    assert (await whole.ask("POST", "/v1/keys", json={"scopes": ["read"]})).status == 409


async def test_of_the_keys_that_ended_only_the_latest_are_kept(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_store, "KEYS_MAX", 3)
    made = []
    for _ in range(6):
        made.append((await whole.made("POST", "/v1/keys", {"scopes": ["read"]}))["id"])
        assert (await whole.ask("DELETE", f"/v1/keys/{made[-1]}")).status == 204
    last = await whole.made("POST", "/v1/keys", {"scopes": ["read"]})
    kept = [each["id"] for each in (await whole.ask("GET", "/v1/keys")).json["data"]]
    assert kept == [last["id"], *reversed(made[3:]), whole.keys[OWNER].key_id]


async def test_what_ended_long_ago_is_no_longer_kept(whole: Whole) -> None:
    ended: list[NewKey] = [await make_key(whole.engine, OWNER) for _ in range(3)]
    revoke, expire = (
        "UPDATE api_keys SET revoked_at = $1 WHERE id = $2",
        "UPDATE api_keys SET expires_at = $1 WHERE id = $2",
    )
    for statement, days, each in zip((revoke, expire, revoke), (91, 91, 89), ended, strict=True):
        await sql(whole.engine, statement, datetime.now(UTC) - timedelta(days=days), each.key_id)
    await whole.made("POST", "/v1/keys", {"scopes": ["read"]})
    found = [(await whole.ask("GET", f"/v1/keys/{each.key_id}")).status for each in ended]
    assert found == [404, 404, 200]


async def test_a_strangers_keys_do_not_exist(whole: Whole) -> None:
    theirs = whole.keys[STRANGER]
    assert (await whole.ask("POST", f"/v1/keys/{theirs.key_id}/rotate", json={})).status == 404
    assert (await whole.ask("DELETE", f"/v1/keys/{theirs.key_id}")).status == 404
    assert (await ask(whole.client, "GET", "/v1/me", headers=bearing(theirs))).status == 200
