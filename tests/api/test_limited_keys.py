"""Keys whose scopes are limited: to some event types, or to one endpoint."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from service.core.events.sample import sample_event
from service.core.keys.api_key import NewKey
from tests.api.conftest import envelope
from tests.api.entrance_rig import Told, ask, bearing, make_key
from tests.api.tenancy import Territory, parts_of, path_of, routes_of
from tests.api.whole_rig import OTHER_PARTS, OWNER, STRANGER, Things, Whole, make_things, whole_on

pytestmark = pytest.mark.clock

OF_ONE_ENDPOINT = {
    ("GET", "/v1/endpoints/{id}"),
    ("GET", "/v1/endpoints/{id}/stats"),
    ("POST", "/v1/endpoints/{id}/pause"),
    ("POST", "/v1/endpoints/{id}/resume"),
    ("POST", "/v1/endpoints/{id}/rotate-secret"),
    ("POST", "/v1/endpoints/{id}/end-overlap"),
    ("POST", "/v1/endpoints/{id}/test"),
    ("POST", "/v1/endpoints/{id}/rehearse"),
    ("POST", "/v1/endpoints/{id}/recover"),
}
"""What a key for one endpoint may do there. Not: change it, which could subscribe it to more, or delete it."""


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole
        assert not whole.troubles.heard


@pytest.fixture
async def things(whole: Whole) -> Things:
    return await make_things(whole)


async def asked_by(whole: Whole, key: NewKey, method: str, path: str, body: object = None) -> Told:
    options = {"json": body} if body is not None else {}
    return await ask(whole.client, method, path, headers=bearing(key), **options)


async def test_a_key_for_one_endpoint_reads_it_and_acts_on_it_and_does_nothing_else(
    whole: Whole, things: Things
) -> None:
    """Every route of the application, those of /api/v2 too."""
    territory = Territory(owned=things.by_template, shared=OTHER_PARTS)
    key = await make_key(whole.engine, OWNER, (f"read:{things.endpoint_id}", f"write:{things.endpoint_id}"))
    public = {template for _, template in routes_of(whole.application) if not template.startswith(("/v1", "/api"))}
    public |= {"/api/v2", "/api/v2/", "/api/v2/explorer", "/api/v2/explorer/", "/api/v2/static/{name}", "/v1/me"}
    public |= {"/v1/keys/revoke-leaked"}
    let_in, refused = set(), set()
    for method, template in sorted(routes_of(whole.application)):
        if template in public:
            continue
        body = {"since": "2026-01-01T00:00:00Z"} if template.endswith("/recover") else {}
        told = await asked_by(whole, key, method, path_of(template, territory), body if method != "GET" else None)
        if told.status in {403, 404, 405}:
            refused.add((method, template))
        else:
            let_in.add((method, template))
    assert let_in == OF_ONE_ENDPOINT | {("HEAD", path) for method, path in OF_ONE_ENDPOINT if method == "GET"}
    assert {("PATCH", "/v1/endpoints/{id}"), ("DELETE", "/v1/endpoints/{id}"), ("GET", "/v1/deliveries")} <= refused
    assert {("POST", "/v1/events"), ("POST", "/v1/keys"), ("POST", "/v1/endpoints")} <= refused


async def test_a_key_for_one_endpoint_does_not_reach_another_one(whole: Whole, things: Things) -> None:
    other = await make_things(whole, url="https://mine.example/other", number=2)
    key = await make_key(whole.engine, OWNER, (f"read:{things.endpoint_id}", f"write:{things.endpoint_id}"))
    for method, template in sorted(OF_ONE_ENDPOINT):
        assert [*parts_of(template)] == ["/v1/endpoints/{id}"]
        told = await asked_by(whole, key, method, template.replace("{id}", other.endpoint_id), {})
        assert (told.status, told.json["code"]) == (403, "PERMISSION_DENIED"), (method, template)
        assert f":{things.endpoint_id}" in told.json["error"]
    elsewhere = await make_key(whole.engine, STRANGER, (f"read:{things.endpoint_id}",))
    assert (await asked_by(whole, elsewhere, "GET", f"/v1/endpoints/{things.endpoint_id}")).status == 404


async def test_a_key_that_only_reads_one_endpoint_does_not_act_on_it(whole: Whole, things: Things) -> None:
    key = await make_key(whole.engine, OWNER, (f"read:{things.endpoint_id}",))
    path = f"/v1/endpoints/{things.endpoint_id}"
    assert (await asked_by(whole, key, "GET", path)).status == 200
    told = await asked_by(whole, key, "POST", f"{path}/pause")
    assert (told.status, told.json["error"]) == (403, "this API key lacks the scope 'write'")
    assert (await asked_by(whole, key, "GET", "/v1/me")).json["key"]["scopes"] == [f"read:{things.endpoint_id}"]


async def test_a_key_for_an_endpoint_that_is_not_there_is_not_made(whole: Whole, things: Things) -> None:
    made = await whole.made("POST", "/v1/keys", {"scopes": [f"read:{things.endpoint_id}"]})
    assert made["scopes"] == [f"read:{things.endpoint_id}"]
    for by, endpoint_id in ((OWNER, "ep_nobody"), (STRANGER, things.endpoint_id)):
        told = await whole.ask("POST", "/v1/keys", json={"scopes": ["read", f"write:{endpoint_id}"]}, by=by)
        assert (told.status, [*told.json["errors"]]) == (400, ["scopes[1]"])


async def test_a_key_publishes_only_the_types_that_it_may(whole: Whole) -> None:
    key = await make_key(whole.engine, OWNER, ("publish:link.*", "publish:message.sent"))
    fine = envelope(organization_id=None)
    other = json.loads(sample_event("message.failed", OWNER, event_id="evt_2", number=2, now=datetime.now(UTC)))
    assert (await asked_by(whole, key, "POST", "/v1/events", fine)).status == 202
    alone = await asked_by(whole, key, "POST", "/v1/events", other)
    assert (alone.status, alone.json["code"]) == (403, "PERMISSION_DENIED")
    sentence = "this API key may publish only link.*, message.sent, not message.failed"
    assert alone.json["errors"] == {"type": [sentence]}
    batch = {"events": [envelope("evt_3", organization_id=None), other, {}, {**other, "id": "evt_4"}]}
    told = await asked_by(whole, key, "POST", "/v1/events", batch)
    assert told.status == 403
    assert told.json["errors"] == {"events[1].type": [sentence], "events[3].type": [sentence]}
    assert "not permitted: 2 of 4 events" in told.json["error"]
    unread = await asked_by(whole, key, "POST", "/v1/events", {**other, "id": "e.2", "data": {}})
    assert (unread.status, unread.json["errors"]) == (403, {"type": [sentence]})  # whatever else is wrong with it
    assert (await whole.ask("GET", "/v1/events/evt_3")).status == 404  # nothing of the batch
    assert (await asked_by(whole, key, "GET", "/v1/events")).status == 403


async def test_a_key_gives_a_part_of_its_scope_and_no_more(whole: Whole, things: Things) -> None:
    giver = await make_key(whole.engine, OWNER, ("admin", "publish:message.*", f"read:{things.endpoint_id}"))
    for scopes, status in (
        (["publish:message.sent"], 201),
        (["publish:message.*", f"read:{things.endpoint_id}"], 201),
        (["publish"], 403),
        (["publish:link.clicked"], 403),
        (["read"], 403),
        ([f"write:{things.endpoint_id}"], 403),
    ):
        told = await asked_by(whole, giver, "POST", "/v1/keys", {"scopes": scopes})
        assert told.status == status, scopes
