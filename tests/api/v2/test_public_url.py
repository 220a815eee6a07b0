"""Links between pages, for callers behind a proxy that adds a prefix of its own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from tests.api.v2.surface_rig import EVENTS, Surface, aside, serving

BEFORE = "/behind/posthorn"


@asynccontextmanager
async def proxy(forwarded: Mapping[str, str]) -> AsyncIterator[tuple[str, list[Surface]]]:
    """A proxy that takes ``BEFORE`` off the path: its URL, and what is behind it, which comes later."""
    behind: list[Surface] = []

    async def pass_on(request: web.Request) -> web.Response:
        target = behind[0].client.make_url(request.path.removeprefix(BEFORE)).with_query(request.query_string)
        said = {name: value.format(host=request.host) for name, value in forwarded.items()}
        headers = {"Authorization": request.headers["Authorization"], "Host": "inside:1", **said}
        async with ClientSession() as session, session.get(target, headers=headers) as response:
            return web.Response(body=await response.read(), status=response.status, content_type="application/json")

    app = web.Application()
    app.router.add_get(BEFORE + "/{rest:.*}", pass_on)
    async with TestServer(app) as server:
        yield str(server.make_url(BEFORE)), behind


FORWARDED = {"X-Forwarded-Proto": "http", "X-Forwarded-Host": "{host}", "X-Forwarded-Prefix": BEFORE}


@pytest.mark.parametrize(("forwarded", "is_configured"), [(FORWARDED, False), ({}, True)])
async def test_the_client_walks_through_a_proxy(
    database_url: str, forwarded: Mapping[str, str], *, is_configured: bool
) -> None:
    async with (
        proxy(forwarded) as (url, behind),
        serving(database_url, page_size=2, public_url=f"{url}/" if is_configured else None) as surface,
    ):
        behind.append(surface)
        for number in range(5):
            await surface.publish(number)
        query = surface.temba(url=url).get_resthook_events(resthook="message.sent")
        events = await aside(query.all)
        assert [event.data["id"] for event in events] == [f"evt_{number}" for number in reversed(range(5))]
        _, page = await surface.call("GET", f"{EVENTS}?resthook=message.sent", headers=surface.headers())
        if is_configured:
            assert page["next"].startswith(f"{url}{EVENTS}?cursor=")
            assert page["next"].endswith("&resthook=message.sent")


@pytest.mark.parametrize(
    ("headers", "start"),
    [
        ({"X-Forwarded-Proto": "https"}, "https://{here}/api"),
        ({"X-Forwarded-Host": "api.example.com"}, "http://api.example.com/api"),
        (
            {"X-Forwarded-Host": "a.example.com, b.example.com", "X-Forwarded-Proto": "https, http"},
            "https://a.example.com/api",
        ),
        ({"X-Forwarded-Prefix": "/ph/"}, "http://{here}/ph/api"),
        (
            {"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": "a/b", "X-Forwarded-Prefix": "//evil"},
            "http://{here}/api",
        ),
        ({"Host": "seen.example.com"}, "http://seen.example.com/api"),
    ],
)
async def test_links_are_reachable_from_outside(database_url: str, headers: Mapping[str, str], start: str) -> None:
    async with serving(database_url, page_size=1) as surface:
        await surface.publish(1)
        await surface.publish(2)
        _, page = await surface.call("GET", EVENTS, headers=surface.headers(**headers))
        url = surface.client.make_url("/")
        assert page["next"].startswith(start.format(here=f"{url.host}:{url.port}"))


async def test_public_url_has_the_last_word(database_url: str) -> None:
    async with serving(database_url, page_size=1, public_url="https://api.example.com/ph") as surface:
        await surface.publish(1)
        await surface.publish(2)
        _, page = await surface.call("GET", EVENTS, headers=surface.headers(**{"X-Forwarded-Host": "evil.example.com"}))
        assert page["next"].startswith("https://api.example.com/ph/api/v2/resthook_events.json?cursor=")
