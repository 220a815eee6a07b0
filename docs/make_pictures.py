"""Makes docs/pictures: starts the demo, follows its link in Chromium, and takes the pages' pictures.

``python docs/make_pictures.py`` needs the extra ``browser`` and Chromium, and takes a minute.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

PICTURES: Final = Path(__file__).parent / "pictures"
DESK: Final[Any] = {"width": 1280, "height": 800}
PHONE: Final[Any] = {"width": 390, "height": 844}
SETTLED: Final = "To look closer"
"""The demo's words when its events have arrived."""


@contextmanager
def demo() -> Iterator[str]:
    """Run the demo until its events have arrived; yields the link to its dashboard."""
    command = [sys.executable, "-m", "service", "demo", "--events", "400"]
    link = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:  # noqa: S603
        try:
            for line in process.stdout or ():
                found = re.search(r"http://\S+/dashboard/enter/\S+", line)
                link = found[0] if found else link
                if SETTLED in line:
                    break
            if link is None:
                raise SystemExit("the demo printed no link")
            yield link
        finally:
            process.terminate()


def main() -> None:
    """Take every picture."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only the pictures need it

    program = shutil.which("chromium") or shutil.which("google-chrome")
    PICTURES.mkdir(exist_ok=True)
    with demo() as link, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = browser.new_context(viewport=DESK)
        page = context.new_page()
        page.goto(link)
        page.wait_for_url(lambda url: "/enter/" not in url)  # the link's own address ends with /overview, too
        take(page, page.url.removesuffix("/overview"))
        browser.close()


def take(page: Any, base: str) -> None:  # noqa: ANN401 - Playwright may not be installed
    """Open each page, and take its picture in its light."""
    page.goto(f"{base}/deliveries?state=cancelled")
    delivery = page.locator("tbody a.name").first.get_attribute("href")
    page.goto(f"{base}/events?event_type=message.replied")
    event = page.locator("tbody a.name").first.get_attribute("href")
    origin = base.partition("/dashboard/")[0]
    for name, url, scheme, window in (
        ("overview", f"{base}/overview?period=1h", "light", DESK),
        ("endpoints", f"{base}/endpoints", "light", DESK),
        ("deliveries", f"{base}/deliveries", "light", DESK),
        ("delivery", f"{origin}{delivery}", "light", DESK),
        ("event", f"{origin}{event}", "light", DESK),
        ("deliveries-phone", f"{base}/deliveries", "dark", PHONE),
    ):
        page.set_viewport_size(window)
        page.emulate_media(color_scheme=scheme)
        page.goto(url)
        page.screenshot(path=PICTURES / f"{name}.png")


if __name__ == "__main__":
    main()
