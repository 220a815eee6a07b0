"""Another organization's id is a 404 on every route of both surfaces, and no other answer tells of what is another's."""

import re

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.api.conftest import KEY, OTHER_KEY
from tests.api.tenancy import Aside, Territory, check_tenancy, path_of, routes_of
from tests.api.whole_rig import OTHER_PARTS, OWNER, STRANGER, SUBSCRIBERS, Things, Whole, make_things, whole_on

pytestmark = pytest.mark.clock

URL = "https://mine.example/hook"
OTHER_URL = "https://other.example/hook"


async def test_everything_is_its_organizations_own(database_url: str) -> None:
    async with whole_on(database_url) as whole:
        things = await make_things(whole, url=URL)
        territory = Territory(
            owned=things.by_template,
            shared=OTHER_PARTS,
            bodies={
                ("POST", "/v1/endpoints"): {"url": OTHER_URL, "event_types": ["message.sent"]},
                ("PATCH", "/v1/endpoints/{id}"): {"description": "taken over"},
                ("POST", "/v1/endpoints/{id}/test"): {"event_type": "message.sent"},
                ("POST", "/v1/event-types"): {"name": "theirs.alone", "schema": {"type": "object"}},
                ("POST", "/v1/endpoints/{id}/recover"): {"since": "2026-01-01T00:00:00Z"},
                ("POST", "/v1/replays"): {"event_type": "message.sent"},
                ("POST", "/v1/keys"): {"scopes": ["read"]},
            },
            asides=[*asides_on_v1(things, await cursors_of(whole)), *asides_on_v2(things)],
            # The subscriber's number may be in other texts by chance: its URL tells.
            marks=[
                *(things.endpoint_id, things.event_id, things.message_id, things.delivery_id, things.event_type),
                things.replay_id,
                *(URL, "private-note", "private-pass", "private-key", things.key_id, OWNER, whole.keys[OWNER].key_id),
            ],
        )
        delivery_count = len((await whole.ask("GET", "/v1/deliveries")).json["data"])
        await check_tenancy(whole.application, whole.client, territory, whole.keys[OWNER], whole.keys[STRANGER])
        assert not whole.troubles.heard
        endpoint = (await whole.ask("GET", f"/v1/endpoints/{things.endpoint_id}")).json
        assert (endpoint["description"], endpoint["state"]) == ("", "active")
        # Nothing was tested or replayed.
        assert len((await whole.ask("GET", "/v1/deliveries")).json["data"]) == delivery_count


async def cursors_of(whole: Whole) -> dict[str, str]:
    """A cursor of each list, from a second page that the owner has."""
    lists = ("/v1/endpoints", "/v1/events", "/v1/deliveries", "/v1/event-types", "/v1/replays", "/v1/keys")
    await make_things(whole, url="https://mine.example/second", number=2)
    told = {path: (await whole.ask("GET", f"{path}?limit=1")).json["next_cursor"] for path in lists}
    assert all(told.values()), told
    return told


def asides_on_v1(things: Things, cursors: dict[str, str]) -> list[Aside]:
    mine, event_type = things.endpoint_id, things.event_type
    return [
        *(("GET", f"{path}?cursor={cursor}", None, 200) for path, cursor in cursors.items()),
        ("GET", f"/v1/endpoints?url={URL}", None, 200),
        ("GET", f"/v1/deliveries?endpoint_id={mine}", None, 200),
        ("GET", f"/v1/deliveries?event_id={things.event_id}", None, 200),
        ("GET", f"/v1/deliveries?event_type={event_type}", None, 200),
        ("GET", f"/v1/events?event_type={event_type}", None, 200),
        ("GET", f"/v1/events/{things.event_id}/explain?limit=1", None, 404),
        ("POST", "/v1/endpoints", {"url": OTHER_URL, "event_types": [event_type]}, 400),
        ("POST", "/v1/replays", {"endpoint_id": mine}, 404),
        ("POST", "/v1/replays", {"endpoint_id": mine, "dry_run": True}, 404),
        ("POST", "/v1/replays", {"ids": [things.delivery_id]}, 202),
        ("POST", "/v1/replays", {"event_type": event_type, "dry_run": True}, 200),
        ("POST", "/v1/events", {"id": "evt_new", "type": event_type, "data": {}}, 400),
        ("POST", "/v1/events", {"id": "evt_new", "type": "message.sent", "organization_id": OWNER}, 400),
    ]


def asides_on_v2(things: Things) -> list[Aside]:
    event_type = things.event_type
    return [
        ("GET", f"{SUBSCRIBERS}.json?id={things.subscriber_id}", None, 200),
        ("DELETE", f"{SUBSCRIBERS}.json?id={things.subscriber_id}", None, 404),
        ("GET", f"{SUBSCRIBERS}.json?resthook={event_type}", None, 200),
        ("GET", f"/api/v2/resthook_events.json?resthook={event_type}", None, 200),
        ("POST", f"{SUBSCRIBERS}.json", {"resthook": event_type, "target_url": "https://b.example/"}, 400),
    ]


async def _tell(_: web.Request) -> web.Response:
    return web.Response(text="anybody may read this")


async def test_a_route_that_is_new_fails_the_check() -> None:
    application = web.Application()
    application.router.add_get("/v1/secrets/{id}", _tell, allow_head=False)
    ((_, template),) = routes_of(application)
    with pytest.raises(AssertionError, match=re.escape("has no id for /v1/secrets/{id}")):
        path_of(template, Territory(owned={}))


async def test_a_route_without_an_id_that_is_new_fails_the_check() -> None:
    application = web.Application()
    application.router.add_get("/v1/secrets", _tell)
    async with TestClient(TestServer(application)) as client:
        with pytest.raises(AssertionError, match=re.escape("GET /v1/secrets shows anybody")):
            await check_tenancy(application, client, Territory(owned={}, marks=["anybody"]), KEY, OTHER_KEY)


async def test_a_route_that_does_not_ask_whose_it_is_fails_the_check() -> None:
    application = web.Application()
    application.router.add_get("/v1/secrets/{id}", _tell)
    async with TestClient(TestServer(application)) as client:
        with pytest.raises(AssertionError, match=re.escape("GET /v1/secrets/{id}: 200")):
            await check_tenancy(application, client, Territory(owned={"/v1/secrets/{id}": "1"}), KEY, OTHER_KEY)
