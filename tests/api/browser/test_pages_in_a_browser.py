"""The pages as people meet them: read, searched, copied from and tried, in a real browser."""

import json

import pytest

from tests.api.browser.conftest import WINDOWS, Visit, Windows, origin_of
from tests.api.whole_rig import OWNER, Whole

pytestmark = pytest.mark.browser

PAGES = ("/docs", "/docs/receiving", "/api/v2/", "/api/v2/resthook_subscribers", "/api/v2/explorer/")
KEY = "ph_live_0123456789abcdef_mine"


@pytest.fixture
async def visit(windows: Windows, whole: Whole) -> Visit:
    return await windows.open(origin_of(whole), permissions=["clipboard-read", "clipboard-write"])


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_stands_in_anybodys_way(visit: Visit, path: str, window: str, scheme: str) -> None:
    await visit.page.set_viewport_size(WINDOWS[window])
    await visit.page.emulate_media(color_scheme=scheme)
    page = await visit.go(path)
    if path == "/docs":
        if window == "desk":  # phones have no bar
            await page.get_by_role("button", name="Your key and ids").click()
        await page.locator("button.try").nth(8).click()
        await page.locator("details.more > summary").first.click()
    assert await visit.violations(scheme) == []
    for width in (320, WINDOWS[window]["width"]):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width


async def test_it_can_be_read_without_script(windows: Windows, whole: Whole) -> None:
    page = await (await windows.open(origin_of(whole), java_script_enabled=False, viewport=WINDOWS["phone"])).go(
        "/docs"
    )
    section = page.locator("#create_endpoint")
    assert await section.get_by_text("curl -sS -X POST").is_visible()
    await section.get_by_role("radio", name="Python", exact=True).check()
    assert await section.get_by_text("import os, requests").is_visible()
    assert not await section.get_by_text("curl -sS -X POST").is_visible()
    assert not await page.get_by_role("link", name="List endpoints").is_visible()  # the menu is closed
    await page.locator("button.here").click()
    assert await page.get_by_role("link", name="List endpoints").is_visible()
    assert not await page.get_by_role("button", name="Try it").first.is_visible()


async def test_a_language_holds_for_the_page_and_the_next_visit(visit: Visit) -> None:
    page = await visit.go("/docs")
    await page.locator("#create_endpoint").get_by_role("radio", name="Go", exact=True).check()
    assert await page.locator("#list_deliveries").get_by_text("package main").is_visible()
    await page.reload()
    assert await page.locator("#list_deliveries").get_by_text("package main").is_visible()


async def test_keys_and_ids_are_put_in_and_never_kept(visit: Visit) -> None:
    page = await visit.go("/docs")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.get_by_role("button", name="Your key and ids").click()
    await page.get_by_label("API key", exact=True).fill(KEY)
    await page.get_by_label("Endpoint ID").fill("ep_mine")
    pause = page.locator("#pause_endpoint .code").first
    assert f'-H "Authorization: Bearer {KEY}"' in await pause.inner_text()
    assert '"$API_URL/v1/endpoints/ep_mine/pause"' in await pause.inner_text()
    await page.get_by_role("button", name="Done").click()
    await pause.get_by_role("radio", name="Python", exact=True).check()
    assert f'key = "{KEY}"' in await pause.inner_text()
    assert f"export API_KEY={KEY}" in await page.locator("#first-steps").inner_text()
    await pause.get_by_role("button", name="Copy").click()
    await page.get_by_text("Copied").first.wait_for()
    assert f'key = "{KEY}"' in await page.evaluate("navigator.clipboard.readText()")
    kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    assert KEY not in await page.evaluate(kept)
    assert [each for each in asked if not each.endswith("/mark.svg")] == []  # the icon may come late
    await page.reload()
    assert KEY not in await page.content()
    await page.get_by_role("button", name="Your key and ids").click()
    assert await page.get_by_label("API key", exact=True).input_value() == ""


async def test_what_a_shell_would_run_is_not_put_in(visit: Visit) -> None:
    page = await visit.go("/docs")
    await page.get_by_role("button", name="Your key and ids").click()
    await page.get_by_label("API key", exact=True).fill('"; rm -rf /; "')
    assert await page.get_by_text("Keys and ids have letters").is_visible()
    assert "rm -rf" not in await page.locator("main").inner_text()


async def test_what_is_copied_is_whole(visit: Visit) -> None:
    page = await visit.go("/docs")
    answer = page.locator("#create_endpoint .code").nth(1)
    assert '"health": {' in await answer.inner_text()
    await answer.get_by_role("button", name="Copy").click()
    await page.get_by_text("Copied").first.wait_for()
    copied = json.loads(await page.evaluate("navigator.clipboard.readText()"))
    assert {"id", "health", "secrets"} <= copied.keys()
    await page.get_by_role("button", name="Copy the path /v1/endpoints/{id}/pause").click()
    await page.locator("#said", has_text="Copied").wait_for(state="attached")
    assert await page.evaluate("navigator.clipboard.readText()") == "/v1/endpoints/{id}/pause"


async def test_search_finds_operations_fields_and_errors(visit: Visit) -> None:
    page = await visit.go("/docs")
    await page.keyboard.press("/")
    box = page.get_by_label("Search the docs")
    assert await box.evaluate("each => each === document.activeElement")
    await box.fill("pause endp")
    found = page.locator("#contents .groups li:visible")
    assert await found.first.inner_text() != "First steps"
    assert "Pause an endpoint" in " ".join(await found.all_inner_texts())
    await box.press("Enter")
    await page.wait_for_url("**/docs#pause_endpoint")
    await box.fill("order_by")
    texts = " ".join(await found.all_inner_texts())
    assert "Create an endpoint" in texts
    assert "List deliveries" not in texts
    await box.fill("zzzz")
    assert await page.get_by_text("Nothing has “zzzz”.").is_visible()
    await box.press("Escape")
    assert await found.count() > 40


async def test_the_current_section_is_marked(visit: Visit) -> None:
    page = await visit.go("/docs")
    marked = page.locator("#contents [aria-current]")
    assert await marked.inner_text() == "First steps"
    await page.locator("#list_deliveries").evaluate("each => each.scrollIntoView({behavior: 'instant'})")
    await page.locator('#contents a[aria-current][href="#list_deliveries"]').wait_for()
    assert await page.locator("#here").inner_text() == "Deliveries"
    assert await marked.is_visible()
    await page.set_viewport_size(WINDOWS["phone"])
    await page.locator("#get_delivery").evaluate("each => each.scrollIntoView({behavior: 'instant'})")
    await page.locator("#here-phone", has_text="Deliveries: Get a delivery").wait_for()


async def test_an_error_has_a_place_to_link_to(visit: Visit) -> None:
    page = await visit.go("/docs#error-validation-error")
    assert await page.locator("#error-validation-error").is_visible()
    await page.locator('#contents a[aria-current][href="#errors"]').wait_for()


async def test_the_explorer_asks_the_service_itself(visit: Visit, whole: Whole) -> None:
    page = await visit.go("/docs")
    me = page.locator("#get_me")
    await me.get_by_role("button", name="Try it").click()
    await me.get_by_role("button", name="Send").click()
    await me.get_by_text("Give an API key first.").wait_for()
    await me.get_by_label("API key").fill(whole.keys[OWNER].text)
    await me.get_by_role("button", name="Send").click()
    await me.locator(".ask .status", has_text="200 OK").wait_for()
    assert f'"{OWNER}"' in await me.locator(".ask pre").inner_text()


async def test_the_explorers_subscribe_nobody_by_their_samples(visit: Visit, whole: Whole) -> None:
    page = await visit.go("/docs")
    create = page.locator("#create_endpoint")
    await create.get_by_role("button", name="Try it").click()
    await create.get_by_label("API key").fill(whole.keys[OWNER].text)
    await create.get_by_role("button", name="Send").click()
    await create.get_by_text("Put a value of your own where “…” stands.").wait_for()
    page = await visit.go("/api/v2/explorer/")
    await page.get_by_label("API key").fill(whole.keys[OWNER].text)
    await page.get_by_label("Request").select_option("POST resthook_subscribers")
    await page.get_by_role("button", name="Send").click()
    await page.get_by_text("Put a URL of your own where “…” stands.").wait_for()
    assert (await whole.made("GET", "/v1/endpoints", None))["data"] == []
    await page.get_by_label("Request").select_option("GET resthooks")
    await page.get_by_role("button", name="Send").click()
    await page.get_by_text("200 OK").wait_for()
    assert "message.sent" in await page.locator("#answer").inner_text()
