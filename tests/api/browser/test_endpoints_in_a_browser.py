"""An endpoint's whole life by its pages, with a worker that sends and receivers that verify."""

import re

import pytest

from tests.api.browser.conftest import Visit
from tests.api.browser.running import Running
from tests.api.whole_rig import OWNER

pytestmark = pytest.mark.browser

BASE = f"/dashboard/o/{OWNER}"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]{32,}")


async def test_an_endpoint_is_added_and_tried(seat: Visit, running: Running) -> None:
    await running.happens("message.sent", 3)
    receiver = running.receiver()
    page = await seat.go(f"{BASE}/endpoints")
    await page.get_by_role("link", name="Add endpoint").first.click()
    await page.locator("#url").fill("ftp://nowhere")
    await page.locator(".checked .error").wait_for()
    await page.locator("#url").fill(receiver.url)
    await page.get_by_text("Looks right.").wait_for()
    await page.locator("input[name=event_types][value='message.sent']").check()
    await page.get_by_text("3 of the last 3").wait_for()
    await page.get_by_label("Path of clause 1").fill("data.message.status")
    await page.get_by_label("Values of clause 1").fill("lost")
    await page.get_by_text("0 of the last 3").wait_for()
    await page.get_by_text("Show those that do not").click()
    assert await page.get_by_text("data.message.status", exact=False).count() >= 1
    await page.get_by_label("Values of clause 1").fill("sent, lost")
    await page.get_by_text("3 of the last 3").wait_for()
    await page.get_by_label("Description").fill("Shop")
    await page.get_by_role("button", name="Add endpoint").click()
    dialog = page.get_by_role("dialog", name="The endpoint is there. Keep its secret")
    found = SECRET.search(await dialog.inner_text())
    assert found is not None
    receiver.secrets = [found[0]]
    await dialog.get_by_role("link", name="I have kept it").click()
    await page.reload()
    assert found[0] not in await page.content()

    receiver.status, receiver.reply = 503, "out of order"
    await page.get_by_role("button", name="Send test event").click()
    told = page.locator("#tried")
    await told.get_by_text("The test event was not accepted.").wait_for()
    assert "The receiver answered 503" in await told.inner_text()
    assert "out of order" in await told.inner_text()
    receiver.status = 204
    before = len(receiver.verified)
    await page.get_by_role("button", name="Send test event").click()
    await told.get_by_text("The test event arrived.").wait_for()
    assert len(receiver.verified) > before
    assert receiver.refused == []
    await told.get_by_role("link", name="the whole delivery").click()
    await page.get_by_role("heading", name="message.sent arrived").wait_for()


async def test_a_secret_is_replaced_and_the_old_one_counts_down(seat: Visit, running: Running) -> None:
    endpoint, receiver = await running.subscribe("message.delivered")
    (old,) = receiver.secrets
    page = await seat.go(f"{BASE}/endpoints/{endpoint['id']}")
    await page.get_by_role("link", name="Replace secret…").click()
    dialog = page.get_by_role("dialog", name="Replace the signing secret?")
    await dialog.get_by_label("The old one signs beside it").select_option("For an hour")
    await dialog.get_by_role("button", name="Replace secret").click()
    shown = page.get_by_role("dialog", name="Keep the new secret")
    found = SECRET.search(await shown.inner_text())
    assert found is not None
    assert found[0] != old
    await shown.get_by_role("link", name="I have kept it").click()
    secrets = page.locator(".secrets")
    assert "in use" in await secrets.inner_text()
    assert re.search(r"ends in (59 min|1 h)", await secrets.inner_text())
    for secret in (old, found[0]):  # either is enough while both sign
        receiver.secrets, receiver.verified = [secret], []
        ids = await running.happens("message.delivered")
        await receiver.until_verified(ids)
    assert receiver.refused == []


async def test_deliveries_wait_while_an_endpoint_is_paused(seat: Visit, running: Running) -> None:
    endpoint, receiver = await running.subscribe("message.failed")
    page = await seat.go(f"{BASE}/endpoints/{endpoint['id']}")
    await page.get_by_role("button", name="Pause").click()
    await page.get_by_text("Paused. Deliveries wait until you resume it.").wait_for()
    ids = await running.happens("message.failed", 2)
    await page.reload()
    assert "Deliveries wait until somebody resumes it" in await page.locator("main").inner_text()
    await page.get_by_role("link", name="Deliveries", exact=True).last.click()
    await page.get_by_role("heading", name="2 deliveries of the newest 2 wait").wait_for()
    assert receiver.verified == []
    await page.go_back()
    await page.get_by_role("button", name="Resume").click()
    await page.get_by_text("Resumed. What waited is sent now.").wait_for()
    await receiver.until_verified(ids)


async def test_what_died_is_counted_and_then_replayed(seat: Visit, running: Running) -> None:
    endpoint, receiver = await running.subscribe("message.replied")
    receiver.status = 500
    ids = await running.happens("message.replied", 3)
    await running.until_count(f"final_deliveries WHERE endpoint_id = '{endpoint['id']}' AND state = 'dead'", 3)
    receiver.status, receiver.verified = 204, []
    page = await seat.go(f"{BASE}/endpoints/{endpoint['id']}")
    await page.get_by_role("link", name="Recover").click()
    await page.get_by_role("button", name="Count them").click()
    await page.get_by_role("heading", name="3 can be sent again").wait_for()
    assert receiver.verified == [], "counting sends nothing"
    await page.get_by_label("Each second, at most").fill("50")
    await page.get_by_role("button", name="Replay 3").click()
    await page.get_by_text("The replay has begun").wait_for()
    await receiver.until_verified(ids)
    await running.until_count("replay_jobs WHERE state = 'done'", 1)
    await page.get_by_role("link", name="Look again").click()
    await page.get_by_text("3 of 3 made again").wait_for()
    await page.get_by_role("button", name="Count them").click()
    await page.get_by_role("heading", name="There is nothing to recover").wait_for()
