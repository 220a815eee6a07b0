"""The operator's pages in a real browser: for everybody, and with messages that are mended and thrown away."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from service.core.events.sample import sample_event
from tests.api.browser.conftest import WINDOWS, Visit, Windows
from tests.api.browser.running import Running
from tests.api.whole_rig import OWNER
from tests.web.visitor import operators_link

pytestmark = pytest.mark.browser

SERVICE = "/dashboard/service"


def wrong_event(event_id: str) -> bytes:
    """One that nobody can have: its organization is not there."""
    return sample_event("message.sent", "org_lost", event_id=event_id, number=1, now=datetime.now(UTC))


async def signed_in(windows: Windows, running: Running, **options: Any) -> Visit:
    visit = await windows.open(running.origin, **options)
    await visit.go(await operators_link(running.engine))
    await visit.page.wait_for_url(f"**{SERVICE}")
    return visit


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_stands_in_the_operators_way(windows: Windows, running: Running, scheme: str) -> None:
    _, receiver = await running.subscribe("message.sent")
    receiver.status = 500
    await running.happens("message.sent")
    await running.publish(wrong_event(f"evt_{scheme}"), "message.sent", message_id=f"evt_{scheme}")
    await running.until_parked(["light", "dark"].index(scheme) + 1)
    visit = await signed_in(windows, running, color_scheme=scheme)
    page = await visit.go(f"{SERVICE}/parked")
    message = await page.locator("main td a.name").first.get_attribute("href")
    wrong = {}
    for path in (
        *(SERVICE, f"{SERVICE}/organizations", f"{SERVICE}/organizations?q=none"),
        *(
            f"{SERVICE}/parked",
            f"{SERVICE}/parked?reason=unknown_organization",
            f"{SERVICE}/parked?reason=costly",
            message,
        ),
    ):
        await visit.go(str(path))
        for window in WINDOWS.values():
            await page.set_viewport_size(window)
            wrong[path, window["width"]] = await visit.violations(scheme)
        for width in (320, 390, 640, 1280):  # of 1280: at 400 %, on a phone, at 200 %, and as it is
            await page.set_viewport_size({"width": width, "height": 450})
            if await visit.is_too_wide():
                wrong[path, width] = ["too wide"]
    assert {where: found for where, found in wrong.items() if found} == {}


async def test_a_parked_message_is_mended_and_another_discarded(windows: Windows, running: Running) -> None:
    await running.channel.queue_purge(running.topology.parked)
    _, receiver = await running.subscribe("message.sent")
    await running.publish(wrong_event("evt_mended"), "message.sent", message_id="evt_mended")
    await running.publish(b"no event", "message.sent", message_id="evt_junk")
    await running.until_parked(2)
    visit = await signed_in(windows, running)
    page = await visit.go(SERVICE)
    await page.locator("nav a[href$='/service/parked']").click()
    await page.get_by_role("heading", name="2 messages parked").wait_for()
    await page.get_by_role("link", name="unknown_organization").first.click()
    await page.get_by_role("heading", name="Parked: unknown_organization").wait_for()
    assert json.loads(await page.get_by_label("Body").input_value())["id"] == "evt_mended"
    await page.get_by_label("Organization", exact=True).fill(OWNER)
    await page.get_by_role("button", name="Publish again").click()
    await page.get_by_text("Published again. It is in the intake queue now.").wait_for()
    await receiver.until_verified(["evt_mended"])
    await page.get_by_role("heading", name="1 message parked").wait_for()
    await page.locator("main td a.name").click()
    await page.get_by_role("link", name="Discard…").click()
    dialog = page.get_by_role("dialog", name="Discard this message?")
    await dialog.get_by_role("button", name="Keep as is").click()
    await page.get_by_role("link", name="Discard…").click()
    await dialog.get_by_role("button", name="Discard").click()
    await page.get_by_role("heading", name="Nothing is parked", level=1).wait_for()
    await running.until_parked(0)
