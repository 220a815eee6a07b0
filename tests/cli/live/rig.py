"""A service as a process with a database and a broker, commands that listen to it, and a program they forward to."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.secret_box import AesSecretBox, parse_secret_keys
from service.cli.remote.client import ApiClient
from service.cli.remote.target import ApiTarget
from service.core.events.sample import sample_event
from tests.api.entrance_rig import make_key
from tests.cli.command import serving
from tests.cli.conftest import SECRET_KEYS
from tests.fakes.administration import Administration

SECONDS_MAX = 120.0


@dataclass(frozen=True)
class Town:
    """A service that serves."""

    engine: AsyncEngine
    url: str

    @property
    def administration(self) -> Administration:
        return Administration(self.engine, AesSecretBox(parse_secret_keys(SECRET_KEYS)))

    async def key(self, organization_id: str) -> tuple[str, str]:
        """A new key, and its id."""
        key = await make_key(self.engine, organization_id)
        return key.text, key.key_id


class Session:
    """An organization of a test's own, and a key for it."""

    def __init__(self, town: Town, organization_id: str, key: str, key_id: str, environ: Mapping[str, str]) -> None:
        self.town = town
        self.organization_id = organization_id
        self.key_id = key_id
        self.environ = {**environ, "POSTHORN_API_URL": town.url, "POSTHORN_API_KEY": key}
        self._target = ApiTarget(town.url, key, "test")

    async def publish(self, *event_ids: str, event_type: str = "message.sent", text: str = "") -> None:
        """Publish an event under each id, one after the other."""
        async with ApiClient(self._target) as client:
            for number, event_id in enumerate(event_ids):
                sample = sample_event(
                    event_type, self.organization_id, event_id=event_id, number=number, now=datetime.now(UTC)
                )
                envelope = json.loads(sample)
                if text:
                    envelope["data"]["message"]["text"] = text
                await client.request("POST", "/v1/events", envelope)


@asynccontextmanager
async def town_on(environment: Mapping[str, str], engine: AsyncEngine) -> AsyncIterator[Town]:
    async with serving(dict(environment), "--role", "all") as service:
        async with asyncio.timeout(SECONDS_MAX):
            await service.told("service.started")
        reading = asyncio.create_task(_drain(service.process))
        yield Town(engine, f"http://127.0.0.1:{environment['POSTHORN_HTTP_PORT']}")
        service.signal(signal.SIGTERM)
        await reading


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    while await process.stderr.read(65536):
        pass


@dataclass
class Following:
    """A ``listen`` or a ``tail`` with --json."""

    process: asyncio.subprocess.Process
    records: list[dict[str, Any]] = field(default_factory=list)

    async def next(self, kind: str) -> dict[str, Any]:
        """The next line of this kind; those before it are in ``records``."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS_MAX):
            while line := await self.process.stdout.readline():
                self.records.append(json.loads(line))
                if self.records[-1]["kind"] == kind:
                    return self.records[-1]
        raise AssertionError(f"it ended before {kind!r}: {self.records}, {await self.said()}")

    async def several(self, count: int, kind: str = "forwarded") -> list[dict[str, Any]]:
        return [await self.next(kind) for _ in range(count)]

    async def said(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()

    async def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        async with asyncio.timeout(SECONDS_MAX):
            return await self.process.wait()


@asynccontextmanager
async def following(environment: Mapping[str, str], *arguments: str) -> AsyncIterator[Following]:
    """A command with --json that does not outlive the block; SIGTERM ends it as q does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", *arguments, "--json"),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    try:
        yield Following(process)
        if process.returncode is None:
            process.terminate()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@dataclass
class App:
    """A program on this machine that gets webhooks, and keeps them."""

    url: str = ""
    posts: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)
    answer: Callable[[str], Awaitable[web.Response]] | None = None
    judge: Callable[[web.Request, bytes], Awaitable[web.Response]] | None = None
    """The same, with all that it got."""

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.posts]


@asynccontextmanager
async def app() -> AsyncIterator[App]:
    made = App()

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        made.posts.append((request.headers.copy(), body))
        if made.judge:
            return await made.judge(request, body)
        return await made.answer(request.headers["webhook-id"]) if made.answer else web.Response(status=204)

    application = web.Application(client_max_size=2**20)
    application.router.add_post("/hooks", take)
    async with TestServer(application) as server:
        made.url = str(server.make_url("/hooks"))
        yield made
