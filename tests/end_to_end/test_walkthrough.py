"""The first steps of /docs, done as a new subscriber would: the page's own commands and code, one after another."""

import asyncio
import html
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.end_to_end.processes import CLOCK, free_port
from tests.end_to_end.town import Town
from tests.end_to_end.waiting import until

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the page's commands need curl")

BLOCK = re.compile(r"<pre[^>]*><code>(.*?)</code></pre>", re.DOTALL)
TAG = re.compile(r"<[^>]+>")
PLACEHOLDER = "…"


class Subscriber:
    """Receives with the code on the page, once it knows the secret."""

    def __init__(self) -> None:
        self.handled: list[tuple[str, Any]] = []
        self.replays: list[str] = []
        self._receive: Any = None

    def run(self, code: str, secret: str) -> None:
        names: dict[str, Any] = {
            "SECRET": secret,
            "handle": lambda event_id, body: self.handled.append((event_id, body)),
        }
        exec(code, names)  # noqa: S102 - the page is ours
        self._receive = names["receive"]

    async def answer(self, request: web.Request) -> web.Response:
        status = self._receive(await request.read(), request.headers)
        self.replays += request.headers.getall("webhook-replay", [])
        return web.Response(status=status)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        app = web.Application()
        app.router.add_post("/hooks/posthorn", self.answer)
        async with TestServer(app, host="127.0.0.1") as server:
            assert server.port is not None
            yield server.port


async def page(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/docs") as reply:
        assert reply.status == 200
        return await reply.text()


def steps(text: str) -> list[str]:
    """The commands and the code of the section, as they stand on the page."""
    section = text.split('id="first-steps"', 1)[1].split('id="signatures"', 1)[0]
    return [html.unescape(TAG.sub("", block)) for block in BLOCK.findall(section)]


async def shell(commands: str, known: dict[str, str], directory: Path) -> str:
    """What the commands print. ``…`` stands for what the reader was told before."""
    for name, value in known.items():
        commands = re.sub(rf"(export {name}=)\S+", rf"\g<1>{value}", commands)
    assert PLACEHOLDER not in commands, f"the reader does not know what to put here: {commands}"
    state = directory / "environment"
    script = f"set -eu; [ ! -f {state} ] || . {state}\n{commands}\nexport -p > {state}\n"
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], **CLOCK},
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, f"{commands}\n{said}"
    assert '"success":false' not in said, f"{commands}\n{said}"
    return said


def told(name: str, answer: str) -> str:
    found = re.search(rf'"{name}":"([^"]+)"', answer)
    assert found is not None, f"no {name} in {answer}"
    return found[1]


async def test_the_first_steps_work_as_they_are_written(town: Town) -> None:
    subscriber, port = Subscriber(), free_port()
    async with subscriber.listening() as target_port:
        await town.start_worker(
            *("service", "serve", "--role", "all"),
            POSTHORN_HTTP_PORT=str(port),
            POSTHORN_EGRESS_ALLOW=f"127.0.0.1/32:{target_port}",
        )
        known = {
            "API_KEY": await town.make_key("read", "write"),
            "TARGET_URL": f"http://127.0.0.1:{target_port}/hooks/posthorn",
        }
        explained = ""
        for step in steps(await page(f"http://127.0.0.1:{port}")):
            if step.startswith("from webhook_signature"):
                subscriber.run(step, known["WEBHOOK_SECRET"])
                continue
            answer = await shell(step, known, town.directory)
            if "X POST" in step and '/v1/endpoints"' in step:
                known |= {"ENDPOINT_ID": told("id", answer), "WEBHOOK_SECRET": told("secret", answer)}
            elif '/test"' in step:
                known |= {"DELIVERY_ID": told("id", answer), "EVENT_ID": told("event_id", answer)}
                await until(lambda: len(subscriber.handled) == 1, "the test event comes", told=town.told)
                await town.all_ended()
            elif "/explain" in step:
                explained = answer
            elif "/replay" in step:
                await until(lambda: len(subscriber.handled) == 2, "it comes again", told=town.told)
    (first_id, first), (second_id, second) = subscriber.handled
    assert first_id == second_id == known["EVENT_ID"]
    assert first == second
    assert subscriber.replays == [f"{known['DELIVERY_ID']}_1"]
    assert "delivered" in explained
