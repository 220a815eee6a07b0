"""A delivery's page in a browser: its tabs, what is copied from it, and what is left without script."""

import json
from typing import Any

import pytest

from tests.api.browser.conftest import WINDOWS, Visit, Windows
from tests.api.browser.running import Running
from tests.api.whole_rig import OWNER

pytestmark = pytest.mark.browser

BASE = f"/dashboard/o/{OWNER}"
REPLY = "<h1>upstream connect error</h1>\nsecond line"


@pytest.fixture(scope="module")
async def paths(running: Running) -> dict[str, str]:
    """A delivery that is tried again and again, and its event."""
    endpoint, receiver = await running.subscribe("message.failed", retry=[1, 3600, 7200])
    receiver.status, receiver.reply = 503, REPLY
    (event_id,) = await running.happens("message.failed")
    await running.until_count(f"open_deliveries WHERE endpoint_id = '{endpoint['id']}' AND attempts_made = 2", 1)
    (delivery,) = (await running.read(f"/v1/deliveries?endpoint_id={endpoint['id']}"))["data"]
    return {"delivery": f"{BASE}/deliveries/{delivery['id']}", "event": f"{BASE}/events/{event_id}"}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_stands_in_anybodys_way(seat: Visit, paths: dict[str, str], window: str, scheme: Any) -> None:
    await seat.page.set_viewport_size(WINDOWS[window])
    await seat.page.emulate_media(color_scheme=scheme)
    for path in paths.values():
        page = await seat.go(path)
        assert await seat.violations(scheme) == [], path
        await page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        await page.get_by_role("tab").last.click()
        assert await seat.violations(scheme) == [], path
        for width in (320, WINDOWS[window]["width"]):
            await page.set_viewport_size({"width": width, "height": 800})
            assert not await seat.is_too_wide(), (path, width)


async def test_request_reply_and_what_was_signed_are_tabs(seat: Visit, paths: dict[str, str]) -> None:
    await seat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = await seat.go(paths["delivery"])
    tabs = page.get_by_role("tablist", name="Attempt 2").get_by_role("tab")
    assert await tabs.all_inner_texts() == ["Request", "Reply", "What was signed"]
    panel = page.get_by_role("tabpanel")
    assert "POST /" in await panel.inner_text()
    await tabs.first.focus()
    await page.keyboard.press("ArrowRight")
    assert await page.evaluate("document.activeElement.textContent") == "Reply"
    assert "503 Service Unavailable" in await panel.inner_text()
    await panel.get_by_role("button", name="Copy: Reply").click()
    await page.locator("#said", has_text="Copied").wait_for(state="attached")
    assert (await page.evaluate("navigator.clipboard.readText()")).endswith(REPLY)
    await tabs.nth(1).focus()
    await page.keyboard.press("End")
    assert await tabs.nth(2).get_attribute("aria-selected") == "true"
    signed = await panel.locator("code").text_content()
    assert json.loads(signed.partition('{"')[1] + signed.partition('{"')[2])["type"] == "message.failed"
    await page.keyboard.press("ArrowRight")
    assert "POST /" in await panel.inner_text(), "after the last comes the first"
    assert await page.locator("[role=tab][tabindex='0']").count() == 2, "one of each attempt is reached with Tab"


async def test_all_of_it_is_there_without_script(windows: Windows, running: Running, paths: dict[str, str]) -> None:
    visit = await windows.open(running.origin, java_script_enabled=False)
    await visit.sign_in(running.key.text)
    page = await visit.go(paths["delivery"])
    for name in ("Request", "Reply", "What was signed"):
        assert await page.get_by_role("heading", name=name).first.is_visible()
    assert await page.get_by_text("second line").first.is_visible()
    assert await page.get_by_role("tab").count() == 0
    assert not await page.get_by_role("button", name="Copy: Reply").first.is_visible()
    page = await visit.go(paths["event"])
    assert await page.get_by_role("heading", name="As delivered").is_visible()
