"""What is done to an endpoint from its page, and lists as files, in a real browser."""

from pathlib import Path

import pytest

from tests.api.browser.conftest import Visit
from tests.api.whole_rig import OWNER, Things, Whole

pytestmark = pytest.mark.browser

BASE = f"/dashboard/o/{OWNER}"


async def test_the_old_secret_is_ended_after_a_question(visit: Visit, whole: Whole, things: Things) -> None:
    await whole.made("POST", f"/v1/endpoints/{things.endpoint_id}/rotate-secret", {})
    page = await visit.go(f"{BASE}/endpoints/{things.endpoint_id}")
    await page.get_by_role("link", name="End the old one now…").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("link", name="Keep as is").click()
    await dialog.wait_for(state="hidden")
    await page.get_by_role("link", name="End the old one now…").click()
    await dialog.get_by_role("button", name="End it now").click()
    await page.get_by_text("The old secret has ended").wait_for()
    assert await page.get_by_role("link", name="End the old one now…").count() == 0
    assert len((await whole.made("GET", f"/v1/endpoints/{things.endpoint_id}", None))["secrets"]) == 1


async def test_a_rehearsal_ends_with_a_report(visit: Visit, things: Things) -> None:
    """Of a host that has no address here, so that the receiver is not reached."""
    page = await visit.go(f"{BASE}/endpoints/{things.endpoint_id}")
    await page.get_by_role("link", name="Rehearse").click()
    await page.get_by_role("button", name="Rehearse").click()
    await page.get_by_role("heading", name="What to mend").wait_for()
    await page.get_by_text("Start the receiver, and check host, port and certificate").wait_for()
    assert await visit.violations() == []


async def test_only_the_fields_of_the_chosen_auth_are_shown(visit: Visit, things: Things) -> None:
    page = await visit.go(f"{BASE}/endpoints/{things.endpoint_id}")
    await page.get_by_text("More settings").click()
    assert not await page.get_by_label("Token URL").is_visible()
    choice = page.get_by_role("combobox", name="How Posthorn proves itself")
    await choice.select_option("oauth2")
    assert await page.get_by_label("Token URL").is_visible()
    assert not await page.get_by_label("Private key").is_visible()
    await choice.select_option("mtls")
    assert await page.get_by_label("Private key").is_visible()
    assert await visit.violations() == []


async def test_a_list_is_saved_as_a_file(visit: Visit, things: Things, tmp_path: Path) -> None:
    page = await visit.go(f"{BASE}/deliveries?state=pending")
    async with page.expect_download() as saving:
        await page.get_by_role("link", name="JSON lines").click()
    file = await saving.value
    await file.save_as(tmp_path / file.suggested_filename)
    assert file.suggested_filename.endswith(".jsonl")
    assert things.delivery_id in (tmp_path / file.suggested_filename).read_text()


async def test_a_hidden_tab_asks_for_no_rows(visit: Visit, things: Things) -> None:
    del things
    page = await visit.go(f"{BASE}/deliveries")
    async with page.expect_response("**/deliveries"):
        await page.keyboard.press("l")
    hide = """is_hidden => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => is_hidden });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    asked: list[str] = []
    await page.evaluate(hide, True)  # noqa: FBT003 - a JavaScript value
    page.on("request", lambda request: asked.append(request.url))
    await page.evaluate("new Promise(done => setTimeout(done, 2 * LIVE_MILLISECONDS))")
    assert asked == []
    async with page.expect_response("**/deliveries"):  # and at once when it is looked at again
        await page.evaluate(hide, False)  # noqa: FBT003 - a JavaScript value
