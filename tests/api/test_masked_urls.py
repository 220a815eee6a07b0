"""Who sees the query of an endpoint's URL: whoever may write, of one endpoint, and over RapidPro's contract."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.adapters.postgres.engine import driver
from service.ports.errors import UrlKeyUnopenableError
from tests.api.entrance_rig import ask, bearing, make_key
from tests.api.whole_rig import OWNER, SUBSCRIBERS, Whole, make_things, whole_on

URL, MASKED = "https://mine.example/hook?token=hush", "https://mine.example/hook?***"
TOKEN_URL = "https://auth.example/token?key=hush"
AUTH = {"type": "oauth2", "token_url": TOKEN_URL, "client_id": "c", "client_secret": "s"}


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole


async def read_as(whole: Whole, scopes: set[str], path: str) -> Any:
    key = await make_key(whole.engine, OWNER, scopes)
    async with whole.client.get(path, headers=bearing(key)) as response:
        assert response.status == 200, await response.text()
        return json.loads(await response.read())


async def test_v1_shows_it_of_one_endpoint_to_whoever_may_write(whole: Whole) -> None:
    asked = {"url": URL, "event_types": ["message.sent"], "auth": AUTH}
    made = await whole.made("POST", "/v1/endpoints", asked)
    path = f"/v1/endpoints/{made['id']}"
    assert (made["url"], made["auth"]["token_url"]) == (URL, TOKEN_URL)
    assert (await whole.made("POST", "/v1/endpoints", asked))["url"] == URL
    for scopes, url in (({"read", "write"}, URL), ({"read"}, MASKED), ({f"read:{made['id']}"}, MASKED)):
        shown = await read_as(whole, scopes, path)
        assert (shown["url"], "hush" in json.dumps(shown)) == (url, url == URL)
    for query in ("", "?url=https%3A%2F%2Fmine.example%2Fhook%3Ftoken%3Dhush"):
        (listed,) = (await read_as(whole, {"read", "write"}, f"/v1/endpoints{query}"))["data"]
        assert (listed["url"], listed["auth"]["token_url"]) == (MASKED, "https://auth.example/token?***")


async def test_who_may_only_read_cannot_find_out_a_query_by_guessing(whole: Whole) -> None:
    await whole.made("POST", "/v1/endpoints", {"url": URL, "event_types": ["message.sent"]})
    reader = bearing(await make_key(whole.engine, OWNER, {"read"}))
    for url in (URL, f"{URL}er", MASKED):
        told = await ask(whole.client, "GET", "/v1/endpoints", params={"url": url}, headers=reader)
        assert told.status == 400
        assert told.json["errors"]["url"][0].startswith("must have no query")
    assert (await read_as(whole, {"read"}, "/v1/endpoints?url=https%3A%2F%2Fmine.example%2Fhook"))["data"] == []


async def test_what_a_list_shows_can_be_sent_back(whole: Whole) -> None:
    made = await whole.made("POST", "/v1/endpoints", {"url": URL, "event_types": ["message.sent"]})
    path = f"/v1/endpoints/{made['id']}"
    assert (await whole.made("PATCH", path, {"url": MASKED, "description": "new"}))["url"] == URL
    for method, at, body in (
        ("PATCH", path, {"url": "https://mine.example/other?***"}),
        ("POST", "/v1/endpoints", {"url": MASKED, "event_types": ["message.sent"]}),
        ("PATCH", path, {"auth": {**AUTH, "token_url": "https://auth.example/token?***"}}),
    ):
        told = await whole.ask(method, at, json=body)
        (sentence,) = next(iter(told.json["errors"].values()))
        assert (told.status, sentence) == (400, "*** stands for a query that is not shown; write the URL in full")


async def test_who_lacks_the_key_of_the_urls_is_not_told_of_the_database(whole: Whole) -> None:
    await whole.made("POST", "/v1/endpoints", {"url": URL, "event_types": ["message.sent"]})
    async with driver(whole.engine) as connection:
        await connection.execute("UPDATE organizations SET sealed_url_key = 'v1:gone:AAAA'")
    other = "https://mine.example/hook?token=other"
    told = await whole.ask("POST", "/v1/endpoints", json={"url": other, "event_types": ["message.sent"]})
    assert (told.status, told.json["code"]) == (503, "UNAVAILABLE")
    assert told.json["error"] == (
        "the service lacks the key of your URLs with a query; its operator has to put it back"
    )
    (trouble,) = whole.troubles.heard
    assert isinstance(trouble, UrlKeyUnopenableError)
    whole.troubles.heard.clear()


async def test_explanations_do_not_show_it(whole: Whole) -> None:
    things = await make_things(whole, url=URL)
    explained = await whole.made("GET", f"/v1/events/{things.event_id}/explain", None)
    assert {each["url"] for each in explained["data"]} == {MASKED}
    assert "hush" not in json.dumps(explained)


async def test_where_an_earlier_release_was_redirected_to_is_shown_without_its_query(whole: Whole) -> None:
    things = await make_things(whole, url=URL)
    async with driver(whole.engine) as connection:
        await connection.execute(
            """INSERT INTO attempts (event_uid, subscription_id, replay_number, number, claim_number, started_at,
                                     duration_ms, outcome, reason, status, is_counted, detail, reply)
               SELECT event_uid, subscription_id, replay_number, 1, 1, now(), 1, 'failed', 'redirect', 302, true,
                      'update the URL (Location: ' || $1 || ')', '' FROM open_deliveries""",
            URL,
        )
    shown = await whole.made("GET", f"/v1/deliveries/{things.delivery_id}", None)
    assert f"(Location: {MASKED})" in json.dumps(shown)
    assert "hush" not in json.dumps(shown)


async def test_a_subscriber_of_v2_sees_its_own_target_url(whole: Whole) -> None:
    made = await whole.made("POST", f"{SUBSCRIBERS}.json", {"resthook": "message.sent", "target_url": URL})
    assert made["target_url"] == URL
    for scopes, url in (({"read", "write"}, URL), ({"read"}, MASKED)):
        (row,) = (await read_as(whole, scopes, f"{SUBSCRIBERS}.json"))["results"]
        assert row["target_url"] == url
    again = await whole.ask("POST", f"{SUBSCRIBERS}.json", json={"resthook": "message.sent", "target_url": URL})
    assert (again.status, again.json) == (400, {"non_field_errors": ["URL is already subscribed to this event."]})
