"""What customers, producers and receivers write is text: on every page, in the stream and in files.

The browser is told to ignore our policy, so nothing but escaping stands between the text and a script.
"""

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from service.web.pages.all import organization_pages
from tests.api.browser.conftest import Visit, Windows
from tests.api.browser.running import Running
from tests.api.entrance_rig import bearing
from tests.api.stream_rig import Ear
from tests.api.tenancy import PAGES
from tests.api.whole_rig import OWNER, Things
from tests.web.routes import path_of
from tests.web.visitor import operators_link

pytestmark = pytest.mark.browser

BASE = f"/dashboard/o/{OWNER}"
MARKUP = "\"><img src=x onerror=alert(1)><script>alert(2)</script>'><svg onload=alert(3)>"
SCHEME = "javascript:alert(4)//"
FORMULA = '=HYPERLINK("http://evil.example","x")'
MESSAGE = "\n\nevent: gap\ndata: {}\n\nid: 1"
TYPE = "mine.hostile"
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
LISTS = ("events", "deliveries", "endpoints", "replays", "event-types", "keys", "audit")
INJECTED = """() => [...document.querySelectorAll('*')].flatMap((each) => {
  const bad = [...each.attributes].filter((at) => /^on/i.test(at.name) || /^\\s*javascript:/i.test(at.value) && ['href', 'src', 'action', 'formaction'].includes(at.name));
  const isOurs = each.matches('img, script:not([src]), iframe, object, embed, base');
  return bad.length || isOurs ? [each.outerHTML.slice(0, 200)] : [];
})"""
"""What no page of ours has: an inline handler, an image, a script without a file, a link that is a script."""


@dataclass
class Oracle:
    """Hears of whatever ran, or was loaded."""

    visit: Visit
    heard: list[str]

    @classmethod
    async def of(cls, visit: Visit) -> "Oracle":
        oracle = cls(visit, [])

        async def close(dialog: Any) -> None:
            oracle.heard.append(f"a dialog on {visit.page.url}: {dialog.message}")
            await dialog.dismiss()

        visit.page.on("dialog", close)
        return oracle

    async def look(self, path: str) -> None:
        """Open the page, and everything on it that opens."""
        page = await self.visit.go(path)
        await page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        self.heard += [f"{path}: {each}" for each in await page.evaluate(INJECTED)]
        self.heard += [f"{path}: {each}" for each in self.visit.wrong]


async def seed(running: Running) -> Things:
    """An organization in which every text is an attack."""
    written = f"{MARKUP}{SCHEME}"
    await running.made(
        "/v1/event-types",
        {"name": TYPE, "description": written, "schema": {"type": "object", "description": written, "title": written}},
    )
    endpoint, receiver = await running.subscribe(
        TYPE,
        description=written,
        headers={"X-'onload!": written, "X-Pass": MARKUP},
        metadata={"note": written, "markup": FORMULA},
    )
    receiver.status, receiver.reply = 400, f"<html>{written}"
    receiver.headers = {"Content-Type": f"text/html; x={MARKUP}", "X-Evil": written, "Retry-After": MARKUP}
    url = f"{running.receivers_origin}/'onmouseover='alert(5)?q=%22%3E%3Cimg%20src=x%20onerror=alert(6)%3E"
    narrow = {"match": {"data.text": {"in": [written]}, "data.none": {"prefix": MARKUP}}}
    await running.made("/v1/endpoints", {"url": url, "event_types": [TYPE], "filter": narrow, "description": FORMULA})
    names = (written, FORMULA, "@SUM(1)", "-1+1")
    keys = [await running.made("/v1/keys", {"name": name, "scopes": ["read"]}) for name in names]
    texts: dict[str, Any] = {
        "text": written,
        "message": {"id": MARKUP, "text": written},
        written: [written],
        "formula": FORMULA,
    }
    (event_id,) = await running.happens(TYPE, **texts, lines=MESSAGE)
    await running.until_count(f"final_deliveries WHERE event_id = '{event_id}' AND state = 'dead'", 1)
    delivery = (await running.read(f"/v1/deliveries?event_id={event_id}&endpoint_id={endpoint['id']}"))["data"][0]
    replay = await running.made("/v1/replays", {"endpoint_id": endpoint["id"]})
    await running.publish(
        json.dumps({"id": MARKUP, "type": SCHEME, "organization_id": MARKUP, "data": written}).encode(),
        "message.sent",
        message_id=MARKUP,
        app_id=written,
        content_type=MARKUP,
        headers={MARKUP: written, "x-list": [written], "x-table": {MARKUP: written}},
    )
    await running.until_parked(1)
    return Things(endpoint["id"], event_id, MARKUP, delivery["id"], TYPE, "", replay["id"], keys[0]["id"])


@pytest.fixture(scope="module")
async def things(running: Running) -> Things:
    return await seed(running)


async def test_nothing_runs_on_any_page(windows: Windows, running: Running, things: Things) -> None:
    visit = await windows.open(running.origin, bypass_csp=True)
    await visit.go(await operators_link(running.engine, "read", "write", "admin"))
    await visit.page.wait_for_url("**/dashboard/service")
    oracle = await Oracle.of(visit)
    parked = visit.page.locator("main td a.name")
    await oracle.look("/dashboard/service/parked")
    await oracle.look((await parked.first.get_attribute("href")) or "")
    for each in organization_pages():
        if each.method == "GET" and not each.path.endswith(("/find", "/test", "/chart", "/export")):
            await oracle.look(path_of(PAGES + each.full_path, things))
    for path in ("/service", "/service/organizations"):
        await oracle.look(f"/dashboard{path}")
    assert oracle.heard == []
    whole = await visit.page.content()
    assert "operator" in whole, "pages were seen, not refusals"


async def test_nothing_runs_that_an_address_says(windows: Windows, running: Running, things: Things) -> None:
    visit = await windows.open(running.origin, bypass_csp=True, expected=[400, 404])
    oracle = await Oracle.of(visit)
    await oracle.look(f"/dashboard/sign-in?next={MARKUP}")
    await visit.sign_in(running.key.text)
    for text in (MARKUP, SCHEME):
        for path in (
            f"/events?message_id={text}&event_type={text}&brand_id={text}",
            f"/deliveries?state={text}&endpoint_id={text}&event_id={text}&message_id={text}&status_code={text}",
            f"/endpoints?search={text}&state={text}",
            f"/endpoints/new?url={text}",
            f"/endpoints/{things.endpoint_id}/recover?job={text}",
            f"/replays/new?endpoint_id={text}&event_type={text}&since={text}&rate={text}&count=1",
            f"/audit?object_id={text}&operation={text}&actor_id={text}",
            f"/find?q={text}",
            f"/overview?done={text}",
            f"/events/{things.event_id}?finding={text}",
            f"/{text}",
        ):
            await oracle.look(BASE + path.replace("%", "%25").replace("#", "%23"))
    assert oracle.heard == []


async def test_nothing_runs_of_what_is_typed_and_refused(windows: Windows, running: Running, things: Things) -> None:
    visit = await windows.open(running.origin, bypass_csp=True, expected=[400])
    await visit.sign_in(running.key.text)
    oracle = await Oracle.of(visit)
    page = await visit.go(f"{BASE}/endpoints/new")
    await page.locator("#url").fill(SCHEME)
    await page.locator(".checked .error").first.wait_for()
    await page.get_by_text("mine.*", exact=True).first.click()
    await page.locator(f"input[name=event_types][value='{TYPE}']").check()
    await page.get_by_label("Path of clause 1").fill("data.text")
    await page.get_by_label("Values of clause 1").fill(MARKUP)
    await page.get_by_text("0 of the last 1").wait_for()
    await page.get_by_text("Show those that do not").click()
    oracle.heard += await page.evaluate(INJECTED)
    await page.get_by_label("Description").fill(MARKUP)
    await page.get_by_role("button", name="Add endpoint").click()
    await page.locator("[aria-invalid=true]").first.wait_for()
    assert await page.get_by_label("Description").input_value() == MARKUP
    oracle.heard += await page.evaluate(INJECTED)
    page = await visit.go(f"{BASE}/deliveries/{things.delivery_id}")
    await page.locator("#secret").fill(MARKUP)
    await page.get_by_role("button", name="Check it").click()
    await page.locator(".notice.bad").wait_for()
    oracle.heard += await page.evaluate(INJECTED)
    assert oracle.heard == []


async def test_a_stream_and_a_file_are_data(running: Running, things: Things) -> None:
    async with ClientSession(running.origin, headers=bearing(running.key)) as session:
        async with session.get("/v1/stream?what=events,attempts") as response:
            _assert_is_data(response, "text/event-stream")
            ear = Ear(response)
            await running.happens(TYPE, text=MARKUP, lines=MESSAGE)
            told = await ear.several(2)
            assert {each.kind for each in told} <= {"event", "attempt"}
            assert any(MESSAGE in json.dumps(each.data, ensure_ascii=False).replace("\\n", "\n") for each in told)
        for name in LISTS:
            async with session.get(f"/v1/{name}?format=csv") as response:
                _assert_is_data(response, "text/csv")
                rows = list(csv.reader(io.StringIO(await response.text(), newline=""), strict=True))
            assert len(rows) > 1, name
            cells = [cell for row in rows for cell in row if cell.startswith(FORMULAS)]
            assert [cell for cell in cells if not _is_number(cell)] == [], name
            async with session.get(f"/v1/{name}?format=jsonl") as response:
                _assert_is_data(response, "application/x-ndjson")
                lines = [json.loads(line) for line in (await response.text()).splitlines()]
            assert len(lines) == len(rows) - 1
    assert things.event_id


def _assert_is_data(response: ClientResponse, content_type: str) -> None:
    """No browser takes it for a page."""
    assert response.status == 200
    assert response.content_type == content_type
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
