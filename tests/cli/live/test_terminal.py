"""listen in a terminal: keys, the line that stays, and a terminal that is as it was on every way out."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import pytest
from aiohttp import web

from service.adapters.postgres.requests.keys import KeyStore
from tests.cli.live.rig import SECONDS_MAX, App, Session
from tests.fakes.actor import SOMEBODY

ROWS, COLUMNS = 40, 100


class Terminal:
    """A terminal with a shell of one job."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._shown = b""
        self._read_to = 0
        self._has_more = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def press(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    async def shows(self, pattern: str) -> re.Match[str]:
        """What comes next that matches."""
        try:
            async with asyncio.timeout(SECONDS_MAX):
                while not (found := re.compile(pattern).search(self._text, self._read_to)):
                    self._has_more.clear()
                    await self._has_more.wait()
        except TimeoutError:
            raise AssertionError(f"never {pattern!r} in {self._text[self._read_to :]!r}") from None
        self._read_to = found.end()
        return found

    @property
    def _text(self) -> str:
        return self._shown.decode(errors="ignore")

    def _read(self) -> None:
        try:
            self._shown += os.read(self._descriptor, 65536)
        except OSError:  # the last program is gone
            self.close()
        self._has_more.set()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)


@asynccontextmanager
async def terminal(environ: Mapping[str, str], *arguments: str) -> AsyncIterator[Terminal]:
    """``posthorn …`` in a terminal of its own."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.cli.live.shell", sys.executable, "-m", "service", *arguments),
        env={**environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", "TZ": "UTC"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=partial(fcntl.ioctl, slave, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    shown = Terminal(master)
    try:
        yield shown
    finally:
        shown.close()
        if process.returncode is None:
            process.kill()  # the terminal hangs up, and the job with it
        os.close(master)
        await process.wait()


async def test_r_sends_the_last_one_again_and_q_quits(session: Session, local: App) -> None:
    async with terminal(session.environ, "listen", "--forward-to", local.url) as shown:
        await shown.shows("Listening.* for org_")
        await shown.shows("whsec_")
        await shown.shows("0 accepted, 0 failed")
        shown.press("r")  # there is none yet
        await session.publish("evt_1", "evt_2")
        await shown.shows("evt_2")
        await shown.shows("2 accepted, 0 failed")
        shown.press("xr")
        await shown.shows("evt_2.*again")
        await shown.shows("3 accepted, 0 failed")
        shown.press("q")
        await shown.shows("<ended 0, terminal as it was>")
    assert local.ids == ["evt_1", "evt_2", "evt_2"]
    assert [headers["webhook-attempt"] for headers, _ in local.posts] == ["1", "1", "2"]


async def test_ctrl_z_gives_the_terminal_back_and_takes_it_again(session: Session, local: App) -> None:
    async with terminal(session.environ, "listen", "--forward-to", local.url) as shown:
        await shown.shows("0 accepted, 0 failed")
        for _ in range(2):
            shown.press("\x1a")
            await shown.shows("<stopped, terminal as it was>")
            await shown.shows("0 accepted, 0 failed")
        await session.publish("evt_1")
        await shown.shows("1 accepted, 0 failed")
        shown.press("r")
        await shown.shows("2 accepted, 0 failed")
        shown.press("q")
        await shown.shows("<ended 0, terminal as it was>")


@pytest.mark.parametrize(
    "way", ["SIGTERM", "SIGHUP", "Ctrl-C", "Ctrl-\\", "revoked", "while it sends", "while it would resend"]
)
async def test_the_terminal_is_as_it_was_whatever_ends_it(session: Session, local: App, way: str) -> None:
    async with terminal(session.environ, "listen", "--forward-to", local.url, "--timeout", "3600") as shown:
        job = int((await shown.shows(r"<job (\d+)>"))[1])
        await shown.shows("0 accepted, 0 failed")
        code = 0
        match way:
            case "SIGTERM" | "SIGHUP":
                os.kill(job, signal.Signals[way])
            case "Ctrl-C":
                shown.press("\x03")
                code = 130
            case "Ctrl-\\":
                shown.press("\x1c")
            case "revoked":
                await KeyStore(session.town.engine).revoke(session.key_id, by=SOMEBODY)
                code = 1
            case _:
                arrived, never = asyncio.Event(), asyncio.Event()

                async def hang(event_id: str) -> web.Response:
                    arrived.set()
                    await never.wait()
                    return web.Response()

                local.answer = hang
                await session.publish("evt_1")
                await arrived.wait()
                shown.press("rrq" if "resend" in way else "q")
        await shown.shows(f"<ended {code}, terminal as it was>")


@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("q", 0)])
async def test_tail_ends_with_ctrl_c_or_q(session: Session, local: App, key: str, code: int) -> None:
    await session.town.administration.add_endpoint(session.organization_id, local.url, ["message.sent"])
    async with terminal(session.environ, "tail") as shown:
        await shown.shows("Attempts, as they are settled")
        await session.publish("evt_1")
        await shown.shows(r"(?s:message\.sent.*✓ 204)")
        shown.press(key)
        await shown.shows(f"<ended {code}, terminal as it was>")
