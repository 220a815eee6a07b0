"""Makes docs/pictures: starts the demo in a terminal, takes its picture, follows its link, and takes the pages'.

``python docs/make_pictures.py`` needs the extra ``browser`` and Chromium, and takes a minute.
"""

import io
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

PICTURES: Final = Path(__file__).parent / "pictures"
DESK: Final[Any] = {"width": 1280, "height": 800}
PHONE: Final[Any] = {"width": 390, "height": 844}
EVENTS: Final = "400"
SETTLED: Final = "To look closer"
"""The demo's words when its events have arrived."""

COLUMNS: Final = 116
TERMINAL: Final[Any] = {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": "50", "TMPDIR": "/tmp"}  # noqa: S108 - what is shown
BARS_BEGIN: Final = "\x1b[?25l"
BARS_AGAIN: Final = "\x1b[1A\x1b[2K"
THEME: Final = TerminalTheme(
    (28, 26, 21),
    (233, 228, 216),
    [
        *((58, 54, 46), (255, 133, 119), (111, 207, 140), (232, 179, 92)),
        *((135, 182, 232), (201, 160, 220), (120, 200, 200), (233, 228, 216)),
    ],
)
SHEET: Final = """\
<style>pre {{ width: %dch; margin: 0; padding: 16px 20px; white-space: pre-wrap; word-break: break-all;
font: 14px/1.17 'DejaVu Sans Mono', monospace; color: {foreground}; background: {background} }}</style>
<pre>{code}</pre>"""


@contextmanager
def demo() -> Iterator[tuple[str, str]]:
    """Run the demo in a terminal until its events have arrived; yields all that it printed, and its link."""
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "service", "demo", "--events", EVENTS]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=os.environ | TERMINAL) as process:  # noqa: S603
        os.close(its)
        printed = ""
        try:
            with os.fdopen(ours, encoding="utf-8", newline="") as terminal:
                while SETTLED not in printed:
                    printed += terminal.readline()
                link = re.search(r"http://[^\s\x1b]+/dashboard/enter/[^\s\x1b]+", printed)
                if link is None:
                    raise SystemExit("the demo printed no link")
                threading.Thread(target=_drain, args=[terminal]).start()
                yield printed, link[0]
                process.terminate()
                process.wait()
        finally:
            process.terminate()


def _drain(terminal: IO[str]) -> None:
    """Read on, so that the demo is not held up."""
    with suppress(OSError):  # its end
        while terminal.read(4096):
            pass


def main() -> None:
    """Take every picture."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only the pictures need it

    program = shutil.which("chromium") or shutil.which("google-chrome")
    PICTURES.mkdir(exist_ok=True)
    with demo() as (printed, link), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = browser.new_context(viewport=DESK)
        page = context.new_page()
        page.set_content(as_seen(printed))
        page.locator("pre").screenshot(path=PICTURES / "terminal.png")
        page.goto(link)
        page.wait_for_url(lambda url: "/enter/" not in url)  # the link's own address ends with /overview, too
        take(page, page.url.removesuffix("/overview"))
        browser.close()


def as_seen(printed: str) -> str:
    """The terminal as a page, when all had arrived: of the bars, which are drawn over themselves, the last."""
    begun, _, drawn = printed.partition(BARS_BEGIN)
    ended = drawn.rpartition(BARS_AGAIN)[2].partition(SETTLED)[0]
    seen = f"$ posthorn demo --events {EVENTS}\n{begun}{ended}".replace("\r\n", "\n").rstrip()
    console = Console(record=True, file=io.StringIO(), width=COLUMNS, force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(seen), soft_wrap=True, highlight=False)
    return console.export_html(theme=THEME, inline_styles=True, code_format=SHEET % COLUMNS)


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
