"""The whole application on a port of its own, and clients that listen to its stream."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import ClientResponse, ClientSession
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.exit.sender import HttpSender
from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.engine import connect, driver
from service.app.http import Parts, api_of
from service.app.listening import listen
from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.request import Fault, Reply
from service.core.deliveries.settlement import conclude
from service.core.endpoints.retry_schedule import STANDARD
from service.core.events.sample import sample_event
from service.core.keys.api_key import NewKey
from service.ports.observer import Happening, Trouble
from service.ports.store import Claimed
from service.settings import load_settings
from tests.api.endpoints_rig import SECRET_BOX, intake_on
from tests.api.entrance_rig import bearing
from tests.api.whole_rig import SETTINGS
from tests.cli.command import free_port
from tests.fakes.delivery_store import alike

SECONDS_MAX = 60.0


@dataclass(frozen=True)
class Told:
    """One message of a stream."""

    kind: str
    data: Any
    cursor: str


@dataclass
class Ear:
    """An open stream, read message by message; ``cursor`` is the last id, as browsers keep it."""

    response: ClientResponse
    cursor: str = ""
    comments: list[str] = field(default_factory=list)
    rest: bytes = b""

    async def next(self) -> Told:
        """The next message. Raises ``EOFError`` at the end of the stream."""
        async with asyncio.timeout(SECONDS_MAX):
            while (told := await self._block()) is None:
                pass
        return told

    async def several(self, count: int) -> list[Told]:
        return [await self.next() for _ in range(count)]

    async def comment(self) -> str:
        """The next comment, if nothing else comes before."""
        async with asyncio.timeout(SECONDS_MAX):
            assert await self._block() is None
        return self.comments[-1]

    async def _block(self) -> Told | None:
        fields: dict[str, str] = {}
        while line := (await self._line()).decode():
            if line == "\n":
                break
            name, _, value = line.rstrip("\n").partition(":")
            fields[name] = value.removeprefix(" ")
        else:
            raise EOFError
        self.cursor = fields.get("id", self.cursor)
        if "data" not in fields:
            self.comments.append(fields[""])
            return None
        return Told(fields["event"], json.loads(fields["data"]), self.cursor)

    async def _line(self) -> bytes:
        """A line of any length; aiohttp's own end at 128 KiB."""
        while b"\n" not in self.rest:
            piece = await self.response.content.readany()
            if not piece:
                return b""
            self.rest += piece
        line, _, self.rest = self.rest.partition(b"\n")
        return line + b"\n"


class Heard:
    """Keeps what the API tells its observer."""

    def __init__(self) -> None:
        self.happenings: list[Happening] = []

    def tell(self, happening: Happening, /) -> None:
        self.happenings.append(happening)


@dataclass(frozen=True)
class Streaming:
    """The application on a port. Closing ``serving`` stops it, as a process stops."""

    engine: AsyncEngine
    url: str
    session: ClientSession
    heard: Heard
    serving: AsyncExitStack
    store: PostgresDeliveryStore

    def ask(self, key: NewKey, path: str = "/v1/stream", *, method: str = "GET", **options: Any) -> Any:
        """A request, to be entered."""
        headers = bearing(key, **options.pop("headers", {}))
        return self.session.request(method, self.url + path, headers=headers, **options)

    @asynccontextmanager
    async def listen(self, key: NewKey, last_id: str = "", /, **query: str) -> AsyncIterator[Ear]:
        """A stream, once it is open."""
        headers = {"Last-Event-ID": last_id} if last_id else {}
        async with self.ask(key, headers=headers, params=query) as response:
            assert response.status == 200, await response.text()
            ear = Ear(response)
            assert await ear.comment() == "open"
            yield ear

    async def get(self, key: NewKey, path: str) -> Any:
        """What a list or an item says."""
        async with self.ask(key, path) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def post(self, key: NewKey, path: str, body: object) -> Any:
        async with self.ask(key, path, method="POST", json=body) as response:
            assert response.status < 300, await response.text()
            return await response.json()

    async def value(self, statement: str, *arguments: object) -> Any:
        """The first value of the first row."""
        async with driver(self.engine) as connection:
            return await connection.fetchval(statement, *arguments)

    async def endpoint(self, key: NewKey, name: str = "a") -> str:
        """A new endpoint for every event; its id."""
        asked = {"url": f"https://{name}.example/hook", "event_types": ["*"]}
        found: str = (await self.post(key, "/v1/endpoints", asked))["id"]
        return found

    async def publish(self, key: NewKey, *event_ids: str, type_: str = "message.sent", size: int = 0) -> None:
        """Publish a sample under each id, in batches; ``size`` more characters in each."""
        organization_id = await self.value("SELECT organization_id FROM api_keys WHERE id = $1", key.key_id)
        events = []
        for number, event_id in enumerate(event_ids):
            sample = sample_event(type_, organization_id, event_id=event_id, number=number, now=datetime.now(UTC))
            events.append(json.loads(sample) | ({"padding": "x" * size} if size else {}))
        per_batch = 4 if size else 100
        for start in range(0, len(events), per_batch):
            await self.post(key, "/v1/events", {"events": events[start : start + per_batch]})

    async def attempt(self, reply: Reply | Fault, count: int = 100) -> list[Claimed]:
        """What a worker does with what is due, which is answered so."""
        claims = await self.store.claim_due(alike(count))
        settled = []
        for claim in claims:
            started = AttemptStarted(claim.delivery, claim.claim_number, None, datetime.now(UTC))
            settled.append(conclude(started, reply, STANDARD, started.at, 0.0))
        assert all(await self.store.settle(settled))
        return list(claims)


@asynccontextmanager
async def streaming_on(database_url: str) -> AsyncIterator[Streaming]:
    """Serve on the database."""
    loaded, heard, port = load_settings(SETTINGS), Heard(), free_port()
    async with AsyncExitStack() as stack:
        engine = connect(database_url)
        stack.push_async_callback(engine.dispose)
        sender = HttpSender(loaded.egress_policy, idle_max=8)
        stack.push_async_callback(sender.close)
        session = await stack.enter_async_context(ClientSession())
        serving = await stack.enter_async_context(AsyncExitStack())
        api = api_of(Parts(loaded, engine, SECRET_BOX, intake_on(engine), heard, lambda: datetime.now(UTC), sender))
        await listen(serving, api, "127.0.0.1", port, connections_max=100)
        store = PostgresDeliveryStore(engine, worker_name="worker", lease_seconds=60)
        yield Streaming(engine, f"http://127.0.0.1:{port}", session, heard, serving, store)
        assert not [each for each in heard.happenings if isinstance(each, Trouble)], heard.happenings
