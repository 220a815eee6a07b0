"""A real browser, and the whole application on a socket for it to open."""

import gzip
import json
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.api.browser.running import Running, running_on
from tests.api.whole_rig import OWNER, Things, Whole, make_things, whole_on

AXE = gzip.decompress((Path(__file__).parent / "axe-core-4.14.1.min.js.gz").read_bytes()).decode()
"""axe-core as it is published, under the Mozilla Public License 2.0 (``axe-core-LICENSE.txt``)."""
OF_COLOURS = ["color-contrast", "link-in-text-block"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WINDOWS = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
REFUSED = re.compile(r"the server responded with a status of (\d+)")


@pytest.fixture(scope="module")
async def whole(migrated_database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(migrated_database_url) as whole:
        yield whole


@pytest.fixture(scope="module")
async def things(whole: Whole) -> Things:
    return await make_things(whole)


@pytest.fixture(scope="module")
async def running(
    migrated_database_url: str, tmp_path_factory: pytest.TempPathFactory, browser: Any
) -> AsyncIterator[Running]:
    del browser  # without one nothing need be started
    async with running_on(migrated_database_url, tmp_path_factory.mktemp("running")) as running:
        yield running


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Any]:
    try:
        from playwright.async_api import async_playwright  # noqa: PLC0415 - a newcomer's machine may lack it
    except ImportError:
        pytest.skip("Playwright is not installed (the extra 'browser'), so the pages were NOT opened in a browser")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed, so the pages were NOT opened in a browser")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        await browser.close()


class Visit:
    """One page in a window of its own, and what it did that it should not.

    ``origin`` is the only one that it may ask. Answers with one of the statuses ``expected`` are no complaint.
    """

    def __init__(self, page: Any, origin: str, *, expected: Sequence[int] = ()) -> None:
        self.page = page
        self.origin = origin
        self.complaints: list[str] = []
        self.outside: list[str] = []
        self._expected = expected
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._see)

    def _hear(self, message: Any) -> None:
        refused = REFUSED.search(message.text)
        if message.type in {"error", "warning"} and not (refused and int(refused[1]) in self._expected):
            self.complaints.append(message.text)

    def _see(self, request: Any) -> None:
        if not request.url.startswith(self.origin):
            self.outside.append(request.url)

    @property
    def wrong(self) -> list[str]:
        """What it did that it should not."""
        return [*self.complaints, *(f"asked {url}" for url in self.outside)]

    async def go(self, path: str) -> Any:
        await self.page.goto(self.origin + path)
        return self.page

    async def sign_in(self, key: str) -> None:
        page = await self.go("/dashboard")
        await page.get_by_label("API key").fill(key)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url("**/dashboard/o/**")

    async def violations(self, scheme: str = "light") -> list[str]:
        """What axe-core finds wrong, with the first place of each.

        Of pages in the dark only what depends on colours: all else is the same as in the light, where it is looked at.
        """
        await self.page.evaluate(AXE)
        only = {"runOnly": OF_COLOURS} if scheme == "dark" else {}
        options = json.dumps({"resultTypes": ["violations"], **only})
        found = await self.page.evaluate(f"axe.run(document, {options})")
        return [f"{each['id']}: {each['help']}: {each['nodes'][0]['html']:.200}" for each in found["violations"]]

    async def is_too_wide(self) -> bool:
        """Whether the page scrolls sideways."""
        return not await self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


class Windows:
    """Opens windows, each as of another person. None may ask another host, or say anything on the console."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self._visits: list[Visit] = []
        self._contexts: list[Any] = []

    async def open(self, origin: str, *, expected: Sequence[int] = (), **options: Any) -> Visit:
        """``options`` are the browser's for a new context."""
        context = await self._browser.new_context(**{"viewport": WINDOWS["desk"], **options})
        self._contexts.append(context)
        visit = Visit(await context.new_page(), origin, expected=expected)
        self._visits.append(visit)
        return visit

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()
        assert [each.wrong for each in self._visits if each.wrong] == []


@pytest.fixture
async def windows(browser: Any) -> AsyncIterator[Windows]:
    windows = Windows(browser)
    yield windows
    await windows.close()


@pytest.fixture
async def visit(windows: Windows, whole: Whole, things: Things) -> Visit:
    """The owner, signed in; there is something to show."""
    del things
    visit = await windows.open(origin_of(whole), permissions=["clipboard-read", "clipboard-write"])
    await visit.sign_in(whole.keys[OWNER].text)
    return visit


def origin_of(whole: Whole) -> str:
    return str(whole.client.make_url("")).rstrip("/")


@pytest.fixture
async def seat(windows: Windows, running: Running) -> Visit:
    """The owner, signed in to the service that runs whole."""
    visit = await windows.open(running.origin)
    await visit.sign_in(running.key.text)
    return visit
