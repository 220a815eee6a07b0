"""``PUT /v1/endpoints?url=``: the endpoint of a URL is what the body says, however often it is said."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.endpoints_rig import URL, Town, town_on
from tests.api.entrance_rig import sql
from tests.api.test_endpoints import EVERYTHING

PATH = f"/v1/endpoints?url={quote(URL, safe='')}"
BODY: dict[str, Any] = {"event_types": ["message.sent"]}


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with town_on(database_url) as town:
        yield town


async def test_it_creates_and_says_where(town: Town) -> None:
    told = await town.ask("PUT", PATH, {**BODY, **EVERYTHING, "secret": "a secret of sixteen or more"})
    assert told.status == 201, told.body
    made = told.json
    assert told.headers["Location"] == f"/v1/endpoints/{made['id']}"
    assert (made["url"], made["secret"]) == (URL, "a secret of sixteen or more")
    assert (await town.ask("GET", told.headers["Location"])).headers["ETag"] == told.headers["ETag"]


async def test_the_same_again_changes_nothing(town: Town) -> None:
    body = {**BODY, **EVERYTHING}
    made = (await town.ask("PUT", PATH, body)).json
    shown = await town.get(made["id"])
    for _ in range(3):
        told = await town.ask("PUT", PATH, body)
        assert told.status == 200, told.body
        assert (told.json["id"], told.json["secret"]) == (made["id"], None)
    assert await town.get(made["id"]) == shown
    assert await sql(town.engine, "SELECT count(*) FROM audit_log WHERE operation LIKE 'endpoint.%'") == 1


async def test_it_replaces_and_what_is_left_out_has_its_default(town: Town) -> None:
    made = await town.create(**EVERYTHING)
    told = await town.ask("PUT", PATH, {"event_types": ["link.clicked"], "description": "new", "url": URL})
    assert told.status == 200, told.body
    changed = told.json
    assert (changed["id"], changed["secrets"][0]["hint"]) == (made["id"], made["secrets"][0]["hint"])
    expected: dict[str, Any] = {
        "event_types": ["link.clicked"],
        "description": "new",
        "headers": {},
        "auth": None,
        "filter": None,
    }
    assert {name: changed[name] for name in expected} == expected
    assert (changed["signature_style"], changed["metadata"], changed["max_in_flight"]) == ("standard", {}, None)


async def test_what_get_shows_can_be_put_back(town: Town) -> None:
    made = await town.create(**EVERYTHING)
    shown = await town.get(made["id"])
    told = await town.ask("PUT", PATH, shown)
    assert told.status == 200, told.body
    assert await town.get(made["id"]) == shown
    assert await town.refused("PUT", PATH, {**shown, "state": "paused"}) != {}
    nowhere = "/v1/endpoints?url=https://nowhere.example/"
    errors = await town.refused("PUT", nowhere, {**BODY, "id": made["id"], "health": shown["health"]})
    assert errors.keys() == {"id", "health"}


async def test_another_secret_is_refused_and_its_own_is_not(town: Town) -> None:
    made = await town.create()
    assert (await town.ask("PUT", PATH, {**BODY, "secret": made["secret"]})).status == 200
    told = await town.ask("PUT", PATH, {**BODY, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
    assert (told.status, told.json["code"]) == (409, "CONFLICT")


async def test_conditions(town: Town) -> None:
    assert (await town.ask("PUT", PATH, BODY, **{"If-Match": "*"})).status == 412
    made = await town.ask("PUT", PATH, BODY, **{"If-None-Match": "*"})
    assert made.status == 201
    assert (await town.ask("PUT", PATH, BODY, **{"If-None-Match": "*"})).status == 412
    etag = made.headers["ETag"]
    changed = await town.ask("PUT", PATH, {**BODY, "description": "second"}, **{"If-Match": etag})
    assert (changed.status, changed.json["description"]) == (200, "second")
    assert (await town.ask("PUT", PATH, {**BODY, "description": "third"}, **{"If-Match": etag})).status == 412


async def test_errors_are_told_all_at_once(town: Town) -> None:
    assert (await town.refused("PUT", "/v1/endpoints", BODY)).keys() == {"url"}
    assert (await town.refused("PUT", "/v1/endpoints", {**BODY, "url": 7})).keys() == {"url"}
    assert (await town.refused("PUT", PATH, {**BODY, "url": "https://other.example/"})).keys() == {"url"}
    assert (await town.refused("PUT", PATH, {"timeout_seconds": -1, "nonsense": 1})).keys() == {
        *("event_types", "timeout_seconds", "nonsense")
    }
    assert (await town.refused("PUT", "/v1/endpoints?url=http://10.0.0.1/", BODY)).keys() == {"url"}
    assert await town.ids() == []


async def test_the_url_may_be_in_the_body(town: Town) -> None:
    made = await town.ask("PUT", "/v1/endpoints", {**BODY, "url": URL})
    again = await town.ask("PUT", "/v1/endpoints", {**BODY, "url": URL})
    assert (made.status, again.status, again.json["id"]) == (201, 200, made.json["id"])


async def test_many_at_once_make_one_endpoint(town: Town) -> None:
    told = await asyncio.gather(*(town.ask("PUT", PATH, {**BODY, "description": str(number)}) for number in range(8)))
    assert sorted(each.status for each in told) == [200] * 7 + [201]
    assert len({each.json["id"] for each in told}) == 1


async def test_an_idempotency_key_shows_the_secret_again(town: Town) -> None:
    named = {"Idempotency-Key": "once"}
    first, again = [await town.ask("PUT", PATH, BODY, **named) for _ in range(2)]
    assert (again.status, again.json["secret"]) == (201, first.json["secret"])


async def test_another_organizations_endpoint_is_another(town: Town) -> None:
    made = await town.create(by="org_2")
    told = await town.ask("PUT", PATH, BODY)
    assert told.status == 201
    assert told.json["id"] != made["id"]


async def test_the_same_url_with_other_settings_names_the_endpoint(town: Town) -> None:
    made = await town.create(description="first", headers={"X-A": "a"}, metadata={"team": "crm"})
    same = {"url": URL, **BODY, "description": "first", "headers": {"X-A": "a"}, "metadata": {"team": "crm"}}
    again = await town.ask("POST", "/v1/endpoints", {**same, "secret": made["secret"]})
    assert (again.status, again.json["id"], "secret" in again.json) == (200, made["id"], False)
    for change, names in (
        ({"headers": {"X-A": "b"}}, {"headers"}),
        ({"description": "other", "event_types": ["*"]}, {"description", "event_types"}),
        ({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, {"secret"}),
        ({"metadata": None}, {"metadata"}),
    ):
        told = await town.ask("POST", "/v1/endpoints", {**same, **change})
        assert (told.status, told.json["code"]) == (409, "CONFLICT"), told.body
        assert made["id"] in told.json["error"]
        assert made["id"] in told.json["errors"]["url"][0]
        assert told.json["errors"].keys() == {"url", *names}
