"""Another organization's id is a 404, on every route of both surfaces."""

import re

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from service.api.v2 import PREFIX
from tests.api.conftest import KEY, OTHER_KEY, Client
from tests.api.endpoints_bench import URL, town_on
from tests.api.tenancy import Territory, check_tenancy, path_of, routes_of
from tests.api.v2.surface_bench import serving as serving_v2


async def test_endpoints_are_their_organizations_own(database_url: str) -> None:
    async with town_on(database_url) as town:
        endpoint = await town.create(metadata={"note": "mine alone"})
        endpoint_path = "/v1/endpoints/{id}"
        territory = Territory(
            owned={endpoint_path: endpoint["id"]},
            bodies={
                ("POST", "/v1/endpoints"): {"url": "https://other.example/", "event_types": ["message.sent"]},
                ("POST", f"{endpoint_path}/test"): {"event_type": "message.sent"},
                ("PATCH", endpoint_path): {"description": "taken over"},
            },
            asides=[("GET", f"/v1/endpoints?url={URL}", None, 200)],
            marks=[endpoint["id"], URL, "mine alone"],
        )
        await check_tenancy(
            _application_of(town.client), town.client, territory, town.keys["org_1"], town.keys["org_2"]
        )
        assert (await town.get(endpoint["id"]))["description"] == ""


async def test_resthooks_are_their_organizations_own(database_url: str) -> None:
    async with serving_v2(database_url) as surface:
        subscriber = await surface.subscribe(url="https://mine.example/hook")
        event = await surface.publish(1)
        await surface.add_type("mine.alone")
        subscribers = f"{PREFIX}/resthook_subscribers"
        by_id = f"{subscribers}/{{id}}"
        number = str(subscriber["id"])
        territory = Territory(
            owned={by_id: number},
            shared={
                f"{by_id}{{suffix}}": ".json",
                f"{subscribers}{{suffix}}": ".json",
                f"{PREFIX}/resthooks{{suffix}}": ".json",
                f"{PREFIX}/resthook_events{{suffix}}": ".json",
                f"{PREFIX}/static/{{name}}": "nothing.css",
            },
            asides=[
                ("GET", f"{subscribers}.json?id={number}", None, 200),
                ("DELETE", f"{subscribers}.json?id={number}", None, 404),
                ("POST", f"{subscribers}.json", {"resthook": "mine.alone", "target_url": "https://b.example/"}, 400),
            ],
            marks=["https://mine.example/hook", event.id, "mine.alone"],
        )
        application = _application_of(surface.client)
        await check_tenancy(application, surface.client, territory, surface.key, surface.other_key)


async def _tell(_: web.Request) -> web.Response:
    return web.Response(text="anybody may read this")


async def test_a_route_that_is_new_fails_the_check() -> None:
    application = web.Application()
    application.router.add_get("/v1/secrets/{id}", _tell, allow_head=False)
    ((_, template),) = routes_of(application)
    with pytest.raises(AssertionError, match=re.escape("has no id for /v1/secrets/{id}")):
        path_of(template, Territory(owned={}))


async def test_a_route_that_does_not_ask_whose_it_is_fails_the_check() -> None:
    application = web.Application()
    application.router.add_get("/v1/secrets/{id}", _tell)
    async with TestClient(TestServer(application)) as client:
        with pytest.raises(AssertionError, match=re.escape("GET /v1/secrets/{id}: 200")):
            await check_tenancy(application, client, Territory(owned={"/v1/secrets/{id}": "1"}), KEY, OTHER_KEY)


def _application_of(client: Client) -> web.Application:
    assert isinstance(client.app, web.Application)
    return client.app
