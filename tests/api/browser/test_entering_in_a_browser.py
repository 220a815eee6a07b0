"""How people come in, and what another site's page can do to whoever is in, in a real browser."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.api.browser.conftest import Visit, Windows, origin_of
from tests.api.whole_rig import OWNER, SETTINGS, STRANGER, Things, Whole, whole_on
from tests.web.visitor import Visitor, signed_in

pytestmark = pytest.mark.browser

BASE = f"/dashboard/o/{OWNER}"
EVIL = "http://evil.example"
OVER = "was used or is older than 10 minutes"


async def open_elsewhere(visit: Visit, body: str) -> Any:
    """A page of another site, in the same browser; what it does is no part of the visit."""
    page = await visit.page.context.new_page()
    await page.route(f"{EVIL}/**", lambda route: route.fulfill(content_type="text/html", body=body))
    await page.goto(f"{EVIL}/")
    return page


async def opened_by(place: Any, name: str) -> Any:
    """The window that a link in a page, or in a frame, opens."""
    async with getattr(place, "page", place).expect_popup() as opening:
        await place.get_by_role("link", name=name).click()
    return await opening.value


async def link_of(whole: Whole, *, by: str = OWNER) -> str:
    """A link that may be followed once, to look at the organization."""
    return str((await whole.made("POST", "/v1/portal-links", {"scopes": ["read"]}, by=by))["url"])


async def cookie_of(visit: Visit) -> str:
    """The token that the browser keeps; "" if it has none."""
    return next((each["value"] for each in await visit.page.context.cookies() if each["name"] == "posthorn"), "")


async def test_a_link_on_another_site_signs_in_once(windows: Windows, whole: Whole) -> None:
    """The strict cookie must already count on the page that the link leads to; nobody else learns of the link."""
    url = await link_of(whole)
    token = url.rpartition("/")[2]
    visit = await windows.open(origin_of(whole), expected=[410])
    page = await open_elsewhere(visit, f"<a href='{url}'>settings</a>")
    asked: list[Any] = []

    def hear(request: Any) -> None:
        asked.append(request)

    page.on("request", hear)
    await page.get_by_role("link").click()
    await page.wait_for_url(f"**{BASE}/**")
    assert await page.get_by_role("heading", level=1).count() == 1
    assert await page.evaluate("document.referrer") == ""
    await (await opened_by(page, "Docs")).wait_for_url("**/docs")
    told = [await each.all_headers() for each in asked]
    assert [each["referer"] for each in told if token in each.get("referer", "")] == []
    assert [each.url for each in asked if token in each.url] == [url]
    await page.go_back()
    assert page.url == f"{EVIL}/", "the link is no entry of the history"
    await visit.page.goto(url)
    await visit.page.get_by_text(OVER).wait_for()


async def test_a_link_that_is_over_says_so_and_leaves_who_is_in_where_they_are(windows: Windows, whole: Whole) -> None:
    expired = await link_of(whole, by=STRANGER)
    async with whole.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE web_links SET ends_at = now() - interval '1 second'")
    used = await link_of(whole, by=STRANGER)
    assert (await Visitor(whole.client).get(used.removeprefix(origin_of(whole)))).status == 200
    for url in (expired, used):
        visit = await windows.open(origin_of(whole), expected=[410])
        await visit.page.goto(url)
        await visit.page.get_by_text(OVER).wait_for()
        assert await visit.page.get_by_label("API key").is_visible()
        assert await cookie_of(visit) == ""
        assert await visit.violations() == []
        await visit.sign_in(whole.keys[OWNER].text)
        before = await cookie_of(visit)
        await visit.page.goto(url)
        await visit.page.get_by_text(OVER).wait_for()
        assert await cookie_of(visit) == before
        await (await visit.go("/dashboard")).wait_for_url(f"**{BASE}/overview")


async def test_another_organizations_link_ends_the_session_and_shows_nothing_of_it(
    visit: Visit, windows: Windows, whole: Whole, things: Things
) -> None:
    old = await cookie_of(visit)
    url = await link_of(whole, by=STRANGER)
    other = await windows.open(visit.origin, expected=[404])
    await other.page.context.add_cookies(await visit.page.context.cookies())
    await other.page.goto(url)
    await other.page.wait_for_url(f"**/dashboard/o/{STRANGER}/**")
    assert await other.page.locator(".switch strong").inner_text() == STRANGER
    for path in (f"{BASE}/deliveries/{things.delivery_id}", f"/dashboard/o/{STRANGER}/deliveries/{things.delivery_id}"):
        page = await other.go(path)
        assert await page.get_by_role("heading", level=1).inner_text() == "There is nothing here"
    assert await cookie_of(other) != old
    assert (await Visitor(whole.client, old).get(f"{BASE}/overview")).status == 303, "the old one has ended"


async def test_a_planted_session_is_not_gone_on_in(windows: Windows, whole: Whole) -> None:
    """Whoever knows the token that a browser had before knows nothing of the session after."""
    planting = await signed_in(whole, by=STRANGER)
    for planted in (planting.token, "A" * 43):
        visit = await windows.open(origin_of(whole))
        await visit.page.context.add_cookies([{"name": "posthorn", "value": planted, "url": visit.origin}])
        page = await visit.go("/dashboard/sign-in")
        await page.get_by_label("API key").fill(whole.keys[OWNER].text)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"**{BASE}/**")
        assert await cookie_of(visit) not in {planted, ""}
        assert (await Visitor(whole.client, planted).get("/dashboard")).location.startswith("/dashboard/sign-in")


async def test_nobody_goes_back_to_pages_after_signing_out(visit: Visit, whole: Whole) -> None:
    token = await cookie_of(visit)
    await visit.go(f"{BASE}/keys")
    await visit.page.get_by_role("button", name="Sign out").click()
    await visit.page.wait_for_url("**/dashboard/sign-in")
    assert await cookie_of(visit) == ""
    await visit.page.go_back()
    await visit.page.wait_for_url("**/dashboard/sign-in?next=**")
    assert (await Visitor(whole.client, token).get(f"{BASE}/keys")).status == 303


async def test_another_sites_form_and_frame_get_nothing(visit: Visit, whole: Whole) -> None:
    before = await whole.made("GET", "/v1/audit", None)
    target = f"{visit.origin}{BASE}/keys"
    form = f"<form method=post action='{target}'><input name=scopes value=admin></form>"
    page = await open_elsewhere(visit, f"{form}<script>document.forms[0].submit()</script>")
    await page.wait_for_url("**/keys")
    await page.wait_for_load_state()
    assert await whole.made("GET", "/v1/audit", None) == before
    framing = await open_elsewhere(visit, f"<iframe src='{visit.origin}{BASE}/endpoints'></iframe>")
    await framing.wait_for_load_state("networkidle")
    assert not any("/dashboard/" in frame.url for frame in framing.frames)


@dataclass
class Platform:
    """A site that shows the pages in a frame of its own: ``html`` is its only page."""

    origin: str
    html: str = ""

    async def answer(self, _: web.Request) -> web.Response:
        return web.Response(text=self.html, content_type="text/html")

    async def frame_in(self, page: Any, url: str) -> Any:
        self.html = f"<iframe src='{url}' title='Webhooks' width=1200 height=800></iframe>"
        await page.goto(f"{self.origin}/")
        return page.frames[1]


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    """Another origin of the service's own site: a site has one host, and any port."""
    platform = Platform("")
    application = web.Application()
    application.router.add_get("/{path:.*}", platform.answer)
    async with TestServer(application, host="127.0.0.1") as server:
        platform.origin = str(server.make_url("")).rstrip("/")
        yield platform


async def test_a_platform_shows_the_pages_in_a_frame(
    browser: Any, platform: Platform, migrated_database_url: str
) -> None:
    foreign = f"http://localhost:{platform.origin.rpartition(':')[2]}"
    settings = {**SETTINGS, "POSTHORN_PORTAL_EMBED_ORIGINS": f"{platform.origin},{foreign}"}
    async with whole_on(migrated_database_url, settings=settings) as whole:
        endpoint = await whole.made("POST", "/v1/endpoints", {"url": "https://framed.example/", "event_types": ["*"]})
        page = await (await browser.new_context()).new_page()
        url = (await whole.made("POST", "/v1/portal-links", {"scopes": ["read", "write"]}))["url"]
        frame = await platform.frame_in(page, url)
        await frame.get_by_role("link", name="Endpoints").click()
        await frame.get_by_role("link", name="framed.example").click()
        await frame.get_by_role("button", name="Pause").click()
        await frame.get_by_role("button", name="Resume").wait_for()
        assert (await whole.made("GET", f"/v1/endpoints/{endpoint['id']}", None))["state"] == "paused"
        await (await opened_by(frame, "Docs")).get_by_role("heading", level=1).wait_for()
        assert frame.url.startswith(f"{origin_of(whole)}{BASE}/endpoints/"), "a frame may not show /docs"

        stranger = await (await browser.new_context()).new_page()
        platform.origin, url = foreign, await link_of(whole)
        frame = await platform.frame_in(stranger, url)
        await frame.get_by_text("A browser keeps nobody signed in to a frame of another site.").wait_for()
        window = await opened_by(frame, "Open them in a window of their own")
        await window.wait_for_url(f"**{BASE}/overview")
        for each in (page, stranger):
            await each.context.close()
