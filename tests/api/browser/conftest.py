"""A real browser, and the whole application on a socket for it to open."""

import gzip
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.whole_rig import Whole, whole_on

AXE = gzip.decompress((Path(__file__).parent / "axe-core-4.14.1.min.js.gz").read_bytes()).decode()
"""axe-core as it is published, under the Mozilla Public License 2.0 (``axe-core-LICENSE.txt``)."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
async def whole(migrated_database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(migrated_database_url) as whole:
        yield whole


@pytest.fixture(scope="module")
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
    """One page in a window of its own, and what it did that it should not."""

    def __init__(self, page: Any, whole: Whole) -> None:
        self.page = page
        self.origin = str(whole.client.make_url("")).rstrip("/")
        self.complaints: list[str] = []
        self.outside: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._see)

    def _hear(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _see(self, request: Any) -> None:
        if not request.url.startswith(self.origin):
            self.outside.append(request.url)

    async def go(self, path: str) -> Any:
        await self.page.goto(self.origin + path)
        return self.page

    async def violations(self) -> list[str]:
        """What axe-core finds wrong, with the first place of each."""
        await self.page.evaluate(AXE)
        found = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [f"{each['id']}: {each['help']}: {each['nodes'][0]['html']:.200}" for each in found["violations"]]
