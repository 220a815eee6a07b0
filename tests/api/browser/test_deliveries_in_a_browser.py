"""Deliveries that are selected and made again, and events that explain themselves, with a worker that sends."""

import re

import pytest

from tests.api.browser.conftest import WINDOWS, Visit
from tests.api.browser.running import Running
from tests.api.whole_rig import OWNER

pytestmark = pytest.mark.browser

BASE = f"/dashboard/o/{OWNER}"


async def test_what_is_selected_is_replayed(seat: Visit, running: Running) -> None:
    endpoint, receiver = await running.subscribe("message.sent")
    receiver.status = 500
    ids = await running.happens("message.sent", 3)
    await running.until_count(f"final_deliveries WHERE endpoint_id = '{endpoint['id']}' AND state = 'dead'", 3)
    receiver.status, receiver.verified = 204, []
    page = await seat.go(f"{BASE}/deliveries?state=dead&endpoint_id={endpoint['id']}")
    assert await page.get_by_role("button", name="Replay selected").is_disabled()
    await page.get_by_role("link", name="Replay all that match…").click()
    await page.get_by_text("3 would be sent again.").wait_for()
    await page.go_back()
    await page.keyboard.press("j")
    await page.keyboard.press("x")
    await page.locator("tbody input[name=ids]").nth(1).check()
    await page.get_by_text("2 selected").wait_for()
    await page.set_viewport_size({"width": 1280, "height": 260})
    await page.evaluate("scrollTo(0, 0)")
    bar = await page.get_by_role("button", name="Replay 2").bounding_box()
    assert bar["y"] + bar["height"] <= 260, "the selection's bar lies below the window"
    await page.set_viewport_size(WINDOWS["desk"])
    await page.get_by_role("button", name="Replay 2").click()
    await page.get_by_text("The replay has begun").wait_for()
    await receiver.until_verified(ids[:0:-1])  # the newest come first in the list
    await running.until_count("replay_jobs WHERE state = 'done'", 1)
    await page.reload()
    await page.get_by_role("heading", name="2 of 2 deliveries made again").wait_for()
    receiver.verified = []
    page = await seat.go(f"{BASE}/deliveries?event_id={ids[0]}")
    await page.locator("tbody a.name").click()
    await page.get_by_role("heading", name="message.sent was given up after 2 attempts").wait_for()
    await page.get_by_role("button", name="Replay", exact=True).click()
    await page.get_by_text("Replayed: this is the new delivery").wait_for()
    await receiver.until_verified([ids[0]])


async def test_an_event_explains_who_got_it_and_who_did_not(seat: Visit, running: Running) -> None:
    _, receiver = await running.subscribe("message.delivered")
    narrow = {"match": {"data.message.status": {"in": ["lost"]}}}
    left_out, other = await running.subscribe("message.delivered", filter=narrow)
    (event_id,) = await running.happens("message.delivered")
    await receiver.until_verified([event_id])
    await running.until_count(f"final_deliveries WHERE event_id = '{event_id}' AND state = 'delivered'", 1)
    page = await seat.go(f"{BASE}/overview")
    await page.keyboard.press("/")
    await page.keyboard.type(event_id)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/events/{event_id}")
    await page.get_by_role("heading", name="It reached every matching subscription (1).").wait_for()
    row = page.get_by_role("row", name="filtered_out")
    assert "data.message.status" in await row.inner_text()
    assert other.verified == []
    await row.get_by_role("link").click()
    await page.wait_for_url(f"**/endpoints/{left_out['id']}")
    await page.go_back()
    await page.get_by_role("row", name="delivered").get_by_role("link", name="Delivery").click()
    await page.get_by_role("heading", name="message.delivered arrived").wait_for()
    await page.get_by_label("Your receiver's secret or public key").fill(receiver.secrets[0])
    await page.get_by_role("button", name="Check it").click()
    await page.get_by_text("The signature is right.").wait_for()


async def test_what_fails_stands_in_nobodys_way(seat: Visit, running: Running) -> None:
    endpoint, receiver = await running.subscribe("message.replied")
    receiver.status = 500
    await running.happens("message.replied")
    await running.until_count(f"final_deliveries WHERE endpoint_id = '{endpoint['id']}' AND state = 'dead'", 1)
    await seat.page.set_viewport_size(WINDOWS["phone"])
    page = await seat.go(f"{BASE}/overview")
    await page.locator(".failing").get_by_role("link", name="Look into it").first.wait_for()
    assert await seat.violations() == []
    page = await seat.go(f"{BASE}/endpoints")
    await page.get_by_role("link", name="Healthy").click()
    await page.wait_for_url("**failing=false&state=active")
    assert not await page.locator(f"tbody a[href$='/{endpoint['id']}']").count()
    await page.get_by_role("link", name=re.compile(r"^Failing \d+$")).click()
    await page.wait_for_url("**failing=true")
    await page.locator(f"tbody a[href$='/{endpoint['id']}']").wait_for()
    assert await seat.violations() == []
    page = await seat.go(f"{BASE}/deliveries?endpoint_id={endpoint['id']}")
    await page.get_by_role("img", name=re.compile(r"1 delivery in the last 24 hours: .*1 is dead")).wait_for()
    await page.locator("tbody a.name").click()
    await page.get_by_role("tab", name="Request").first.wait_for()
    assert await seat.violations() == []
