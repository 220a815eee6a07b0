"""The dashboard as people meet it, in a real browser; and what another site's page can do to it."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from service.core.events.sample import sample_event
from service.web.pages.all import organization_pages
from tests.api.browser.conftest import Visit
from tests.api.whole_rig import OWNER, STRANGER, Things, Whole, make_things

pytestmark = pytest.mark.browser

BASE = f"/dashboard/o/{OWNER}"
WINDOWS = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
EVIL = "http://evil.example"


@pytest.fixture(scope="module")
async def things(whole: Whole) -> Things:
    return await make_things(whole)


@pytest.fixture
async def visit(browser: Any, whole: Whole, things: Things) -> AsyncIterator[Visit]:
    del things  # the pages have something to show
    context = await browser.new_context(viewport=WINDOWS["desk"], permissions=["clipboard-read", "clipboard-write"])
    visit = Visit(await context.new_page(), whole)
    await sign_in(visit, whole)
    yield visit
    await context.close()
    assert visit.complaints == []
    assert visit.outside == []


async def sign_in(visit: Visit, whole: Whole, *, key: str | None = None) -> None:
    page = await visit.go("/dashboard")
    await page.get_by_label("API key").fill(key or whole.keys[OWNER].text)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"**{BASE}/**")


def shown_paths(things: Things) -> list[str]:
    """Every page that is read, with the owner's ids."""
    ids = {
        "/endpoints/check/{part}": "url",
        "/endpoints/{id}": things.endpoint_id,
        "/deliveries/{id}": things.delivery_id,
        "/events/{id}": things.event_id,
        "/replays/{id}": things.replay_id,
        "/event-types/{name}": things.event_type,
        "/keys/{id}": things.key_id,
    }
    found = []
    for page in organization_pages():
        is_part = page.path.endswith("/test")  # of a page: what came of a test event, read again until it is known
        if page.method == "GET" and page.path != "/find" and not is_part:
            path = page.path
            for template, value in ids.items():
                path = path.replace(template, template[: template.index("{")] + value)
            found.append(path)
    return found


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_stands_in_anybodys_way(visit: Visit, things: Things, window: str, scheme: str) -> None:
    await visit.page.emulate_media(color_scheme=scheme)
    wrong = {}
    for path in shown_paths(things):
        await visit.page.set_viewport_size(WINDOWS[window])
        page = await visit.go(f"{BASE}{path}")
        wrong[path] = await visit.violations()
        for width in (320, WINDOWS[window]["width"]):
            await page.set_viewport_size({"width": width, "height": 800})
            if not await page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
                wrong[path].append(f"wider than {width}")
    assert {path: found for path, found in wrong.items() if found} == {}


async def test_the_door_can_be_used_by_everybody(browser: Any, whole: Whole) -> None:
    for scheme in ("light", "dark"):
        context = await browser.new_context(color_scheme=scheme, viewport=WINDOWS["phone"])
        visit = Visit(await context.new_page(), whole)
        await visit.go("/dashboard/sign-in")
        assert await visit.violations() == []
        await visit.page.get_by_label("API key").fill("wrong")
        await visit.page.get_by_role("button", name="Sign in").click()
        await visit.page.get_by_text("This key is unknown or was revoked.").wait_for()
        assert await visit.violations() == []
        await context.close()


async def test_an_event_is_followed_from_the_list_to_its_envelope(visit: Visit, things: Things) -> None:
    page = visit.page
    await page.get_by_role("link", name="Deliveries", exact=True).click()
    await page.get_by_label("Type").fill("message.sent")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**event_type=message.sent")
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/deliveries/{things.delivery_id}")
    await page.get_by_role("link", name="Explain this event").or_(page.locator("dd a[href*='/events/']")).first.click()
    await page.wait_for_url(f"**/events/{things.event_id}")
    assert "It reached 0 of" in await page.get_by_role("heading", level=1).inner_text()
    assert things.message_id in await page.locator("pre").first.inner_text()


async def test_new_rows_enter_by_themselves_when_asked_for(visit: Visit, whole: Whole, things: Things) -> None:
    del things
    page = await visit.go(f"{BASE}/events")
    await page.keyboard.press("l")
    await page.get_by_role("button", name="Stop").wait_for()
    event = sample_event("message.sent", OWNER, event_id="evt_live", number=77, now=datetime.now(UTC))
    await whole.made("POST", "/v1/events", json.loads(event))
    await page.locator("tbody tr").first.locator("a[href$='/events/evt_live']").wait_for()
    await page.get_by_role("button", name="Stop").click()
    assert await page.get_by_role("button", name="Live").is_visible()


async def test_keys_and_the_clipboard(visit: Visit, things: Things) -> None:
    page = await visit.go(f"{BASE}/deliveries/{things.delivery_id}")
    await page.locator(f"[data-copy='{things.delivery_id}']").click()
    assert await page.evaluate("navigator.clipboard.readText()") == things.delivery_id
    await page.keyboard.press("/")
    await page.keyboard.type(things.event_id)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/events/{things.event_id}")
    await page.locator("h1").click()
    await page.keyboard.press("?")
    await page.get_by_role("button", name="Switch keys off").click()
    await page.get_by_role("button", name="Close").click()
    await page.keyboard.press("/")
    assert await page.evaluate("document.activeElement.id") != "find"


async def test_a_key_is_made_shown_once_and_revoked_under_an_open_page(
    visit: Visit, browser: Any, whole: Whole
) -> None:
    page = await visit.go(f"{BASE}/keys")
    await page.get_by_label("What it is for").fill("a browser")
    await page.get_by_role("button", name="Make the key").click()
    key = await page.locator(".notice .id").inner_text()
    context = await browser.new_context()
    other = Visit(await context.new_page(), whole)
    await sign_in(other, whole, key=key)
    page.once("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("row", name="a browser").get_by_role("button", name="Revoke").click()
    await page.get_by_text("Key revoked.").wait_for()
    await other.page.reload()
    await other.page.wait_for_url("**/dashboard/sign-in**")
    await context.close()


async def test_pages_are_read_and_left_without_script(browser: Any, whole: Whole, things: Things) -> None:
    context = await browser.new_context(java_script_enabled=False, viewport=WINDOWS["phone"])
    visit = Visit(await context.new_page(), whole)
    await sign_in(visit, whole)
    for path in shown_paths(things):
        await visit.go(f"{BASE}{path}")
        assert await visit.page.get_by_role("heading", level=1).count() == 1, path
    await visit.go(f"{BASE}/deliveries")
    await visit.page.get_by_label("State").select_option("pending")
    await visit.page.get_by_role("button", name="Filter").click()
    await visit.page.wait_for_url("**state=pending**")
    await visit.page.get_by_role("button", name="Sign out").click()
    await visit.page.wait_for_url("**/dashboard/sign-in")
    await context.close()


async def open_elsewhere(context: Any, body: str) -> Any:
    """A page of another site, as the browser sees it."""
    page = await context.new_page()
    await page.route(f"{EVIL}/**", lambda route: route.fulfill(content_type="text/html", body=body))
    await page.goto(f"{EVIL}/")
    return page


async def test_a_link_on_another_site_signs_in_once(browser: Any, whole: Whole) -> None:
    """The strict cookie must already count on the page that the link leads to."""
    made = await whole.made("POST", "/v1/portal-links", {"scopes": ["read"]})
    context = await browser.new_context()
    page = await open_elsewhere(context, f"<a href='{made['url']}'>settings</a>")
    await page.get_by_role("link").click()
    await page.wait_for_url(f"**{BASE}/**")
    assert await page.get_by_role("heading", level=1).count() == 1
    assert made["url"].rpartition("/")[2] not in page.url
    assert await page.evaluate("document.referrer") == ""
    again = await context.new_page()
    await again.goto(made["url"])
    await again.get_by_text("was used or is older than 10 minutes").wait_for()
    await context.close()


async def test_another_sites_form_and_frame_get_nothing(browser: Any, whole: Whole, things: Things) -> None:
    context = await browser.new_context()
    visit = Visit(await context.new_page(), whole)
    await sign_in(visit, whole)
    before = await whole.made("GET", "/v1/audit", None)
    target = f"{visit.origin}{BASE}/keys"
    page = await open_elsewhere(
        context,
        f"<form method=post action='{target}'><input name=scopes value=admin></form><script>document.forms[0].submit()</script>",
    )
    await page.wait_for_url("**/keys")
    await page.wait_for_load_state()
    assert await whole.made("GET", "/v1/audit", None) == before
    framing = await open_elsewhere(context, f"<iframe src='{visit.origin}{BASE}/endpoints'></iframe>")
    await framing.wait_for_load_state("networkidle")
    assert not any("/dashboard/" in frame.url for frame in framing.frames)
    await context.close()


async def test_another_organizations_link_shows_nothing_of_this_one(browser: Any, whole: Whole, things: Things) -> None:
    made = await whole.made("POST", "/v1/portal-links", {"scopes": ["read"]}, by=STRANGER)
    context = await browser.new_context()
    visit = Visit(await context.new_page(), whole)
    await visit.page.goto(made["url"])
    await visit.page.wait_for_url(f"**/dashboard/o/{STRANGER}/**")
    for path in (f"{BASE}/deliveries/{things.delivery_id}", f"/dashboard/o/{STRANGER}/deliveries/{things.delivery_id}"):
        page = await visit.go(path)
        assert await page.get_by_role("heading", level=1).inner_text() == "There is nothing here"
    await context.close()
