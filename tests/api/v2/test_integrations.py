"""What Zapier, n8n and Make need of this surface."""

import time

from aiohttp import web
from aiohttp.test_utils import TestServer

from service.api.v2 import PREFIX
from tests.api.v2.surface_rig import EVENTS, SUBSCRIBERS, Surface

CREATE_SECONDS_MAX = 2.0


async def test_a_hook_is_made_quickly_and_nobody_is_called_back(surface: Surface) -> None:
    called: list[str] = []

    async def hear(request: web.Request) -> web.Response:
        called.append(request.method)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", hear)
    async with TestServer(app) as receiver:
        url = f"https://127.0.0.1:{receiver.port}/hooks/catch"
        began = time.monotonic()
        made = await surface.subscribe(url=url)
        assert time.monotonic() - began < CREATE_SECONDS_MAX
    assert isinstance(made["id"], int)
    assert called == []


async def test_a_hook_is_unmade_by_its_id_in_query_and_in_path(surface: Surface) -> None:
    made = [(await surface.subscribe(name))["id"] for name in ("message.sent", "message.failed")]
    assert await surface.call("DELETE", f"{SUBSCRIBERS}?id={made[0]}") == (204, None)
    assert await surface.call("DELETE", f"{PREFIX}/resthook_subscribers/{made[1]}.json") == (204, None)
    assert (await surface.call("GET", SUBSCRIBERS))[1]["results"] == []


async def test_samples_are_the_bodies_delivered_newest_first_each_with_its_id(surface: Surface) -> None:
    published = [await surface.publish(number) for number in range(3)]
    async with surface.client.get(f"{EVENTS}?resthook=message.sent", headers=surface.headers()) as response:
        text, body = await response.read(), await response.json()
    assert [row["data"]["id"] for row in body["results"]] == [event.id for event in reversed(published)]
    places = [text.index(event.body) for event in reversed(published)]
    assert places == sorted(places)


async def test_long_urls_are_taken_and_come_back_as_they_were(surface: Surface) -> None:
    url = f"https://hooks.zapier.com/hooks/standard/1234/{'ab12' * 80}/?source=a%2Fb&x=%C3%A9"
    assert len(url) > 300
    assert (await surface.subscribe(url=url))["target_url"] == url
    _, body = await surface.call("GET", SUBSCRIBERS)
    assert [row["target_url"] for row in body["results"]] == [url]


async def test_a_hook_that_was_unmade_elsewhere_is_no_longer_listed(surface: Surface) -> None:
    """A 410 ends it as a DELETE would, and the id is then unknown; a 404 does not (tests/flow)."""
    made = await surface.subscribe()
    await surface.sql("UPDATE subscriptions SET removed_at = now(), removed_because = 'gone' WHERE id = $1", made["id"])
    assert (await surface.call("GET", f"{SUBSCRIBERS}?id={made['id']}"))[1]["results"] == []
    assert (await surface.call("DELETE", f"{SUBSCRIBERS}?id={made['id']}"))[0] == 404
