"""The dashboard as people meet it, in a real browser; and what another site's page can do to it."""

import json
import re
from datetime import UTC, datetime

import pytest

from service.core.events.sample import sample_event
from tests.api.browser.conftest import WINDOWS, Visit, Windows, origin_of
from tests.api.endpoints_rig import SECRET_BOX
from tests.api.whole_rig import OWNER, Things, Whole
from tests.fakes.administration import Administration
from tests.web.routes import OF_ORGANIZATION, path_of, templates_of
from tests.web.visitor import operators_link

pytestmark = pytest.mark.browser

BASE = f"/dashboard/o/{OWNER}"
EVIL = "http://evil.example"


def shown_paths(whole: Whole, things: Things) -> list[str]:
    """Every page of an organization that is read, with the owner's ids."""
    is_part = re.compile(r"/find$|/test$|/chart$|/export$")  # which lead on, are a part of a page, or a file
    templates = templates_of(whole.application, "GET")
    return [
        path_of(each, things) for each in templates if each.startswith(OF_ORGANIZATION) and not is_part.search(each)
    ]


def narrowed_paths(things: Things) -> list[str]:
    """Lists with their filters set: some find something, some nothing."""
    return [
        f"{BASE}/endpoints?failing=false&state=active&search=mine",
        f"{BASE}/endpoints?failing=true",
        f"{BASE}/deliveries?endpoint_id={things.endpoint_id}&within=24h",
        f"{BASE}/deliveries?state=pending&event_type=message.sent&message_id={things.message_id}",
        f"{BASE}/deliveries?state=dead&reason=dns&within=1h",
        f"{BASE}/deliveries?id=nothing",
        f"{BASE}/events?event_type=message.sent&brand_id=nothing",
    ]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_stands_in_anybodys_way(
    visit: Visit, whole: Whole, things: Things, window: str, scheme: str
) -> None:
    await visit.page.emulate_media(color_scheme=scheme)
    wrong = {}
    for path in [*shown_paths(whole, things), *narrowed_paths(things)]:
        await visit.page.set_viewport_size(WINDOWS[window])
        page = await visit.go(path)
        wrong[path] = await visit.violations(scheme)
        for width in (320, WINDOWS[window]["width"]):
            await page.set_viewport_size({"width": width, "height": 800})
            if await visit.is_too_wide():
                wrong[path].append(f"wider than {width}")
    assert {path: found for path, found in wrong.items() if found} == {}


async def test_the_door_can_be_used_by_everybody(windows: Windows, whole: Whole) -> None:
    for scheme in ("light", "dark"):
        visit = await windows.open(origin_of(whole), expected=[401], color_scheme=scheme, viewport=WINDOWS["phone"])
        await visit.go("/dashboard/sign-in")
        assert await visit.violations() == []
        await visit.page.get_by_label("API key").fill("wrong")
        await visit.page.get_by_role("button", name="Sign in").click()
        await visit.page.get_by_text("This key is unknown or was revoked.").wait_for()
        assert await visit.violations() == []


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
    await page.get_by_role("button", name="Copy JSON").click()
    await page.locator("#said", has_text="Copied").wait_for(state="attached")
    assert json.loads(await page.evaluate("navigator.clipboard.readText()"))["id"] == things.event_id


async def test_an_id_is_typed_and_a_filter_dropped(visit: Visit, things: Things) -> None:
    page = await visit.go(f"{BASE}/deliveries?state=dead")
    await page.get_by_label("Id", exact=True).fill(things.event_id)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/deliveries?event_id={things.event_id}")
    assert await page.locator("tbody a.name").count() == 1
    await page.get_by_role("link", name="Drop the filter Event").click()
    await page.wait_for_url("**/deliveries")
    await page.get_by_label("Id", exact=True).fill("nothing")
    await page.keyboard.press("Enter")
    await page.get_by_text("There is none with the id nothing").wait_for()
    await page.get_by_label("Id", exact=True).fill(things.delivery_id)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/deliveries/{things.delivery_id}")


async def test_new_rows_enter_by_themselves_when_asked_for(visit: Visit, whole: Whole, things: Things) -> None:
    del things
    page = await visit.go(f"{BASE}/events")
    await page.keyboard.press("l")
    await page.get_by_role("button", name="Stop").wait_for()
    event = sample_event("message.sent", OWNER, event_id="evt_live", number=77, now=datetime.now(UTC))
    await whole.made("POST", "/v1/events", json.loads(event))
    await page.locator("tbody tr").first.locator("a[href$='/events/evt_live']").wait_for()
    await page.get_by_role("button", name="Stop").click()
    assert await page.get_by_role("button", name="Live", exact=True).is_visible()


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


async def test_a_key_is_made_shown_once_and_revoked_under_an_open_page(visit: Visit, windows: Windows) -> None:
    page = await visit.go(f"{BASE}/keys")
    await page.get_by_label("What it is for").fill("a browser")
    await page.get_by_role("button", name="Make the key").click()
    key = await page.locator(".notice .id").inner_text()
    other = await windows.open(visit.origin)
    await other.sign_in(key)
    page.once("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("row", name="a browser").get_by_role("button", name="Revoke").click()
    await page.get_by_text("Key revoked.").wait_for()
    await other.page.reload()
    await other.page.wait_for_url("**/dashboard/sign-in**")


async def test_pages_are_read_and_left_without_script(windows: Windows, whole: Whole, things: Things) -> None:
    visit = await windows.open(origin_of(whole), java_script_enabled=False, viewport=WINDOWS["phone"])
    await visit.sign_in(whole.keys[OWNER].text)
    for path in shown_paths(whole, things):
        await visit.go(path)
        assert await visit.page.get_by_role("heading", level=1).count() == 1, path
    await visit.go(f"{BASE}/deliveries")
    await visit.page.get_by_label("State").select_option("pending")
    await visit.page.get_by_role("button", name="Filter").click()
    await visit.page.wait_for_url("**state=pending**")
    await visit.page.locator(".rest > summary").click()
    await visit.page.get_by_role("button", name="Sign out").click()
    await visit.page.wait_for_url("**/dashboard/sign-in")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_new_customer_is_told_what_fills_each_list(windows: Windows, whole: Whole, scheme: str) -> None:
    """As the operator sees it: the organization has not even a key."""
    new = f"org_new_{scheme}"
    await Administration(whole.engine, SECRET_BOX).create_organization(new)
    visit = await windows.open(origin_of(whole), color_scheme=scheme)
    await visit.go(await operators_link(whole.engine, "read", "write", "admin"))
    await visit.page.wait_for_url("**/dashboard/service")
    wrong = {}
    for path in ("/overview", "/endpoints", "/deliveries", "/events", "/replays", "/event-types", "/keys", "/audit"):
        page = await visit.go(f"/dashboard/o/{new}{path}")
        found = await visit.violations()
        found += ["a table has no row"] * await page.locator("main table:visible tbody:not(:has(tr))").count()
        is_empty = not await page.locator("main table:visible tbody tr").count()
        if is_empty and not await page.locator("main .empty h2 + p").count():
            found.append("nothing says what fills it")
        for width in (390, 640, 1280):
            await page.set_viewport_size({"width": width, "height": 450})
            found += [f"wider than {width}"] * await visit.is_too_wide()
        wrong[path] = found
    assert {path: found for path, found in wrong.items() if found} == {}
