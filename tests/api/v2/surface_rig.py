"""The surface on a real socket and a real PostgreSQL, and RapidPro's own client before it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy.ext.asyncio import AsyncEngine
from temba_client.v2 import TembaClient  # type: ignore[import-untyped]
from yarl import URL

from service.adapters.exit.certificates import read_certificate
from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.endpoints.resthooks import ResthookReader
from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.engine import connect, driver
from service.api.app import make_api
from service.api.v2 import PAGE_SIZE, PREFIX, make_v2
from service.core.endpoints.retry_schedule import STANDARD
from service.core.endpoints.rules import EndpointRules
from service.core.endpoints.target_policy import EgressPolicy, parse_cidr_rule
from service.core.events.event import Event, parse_event
from service.core.keys.api_key import NewKey
from service.ports.store import Recorded, Recording
from tests.api.conftest import Client, Troubles
from tests.api.entrance_rig import make_key, real_entrance
from tests.fakes.administration import Administration
from tests.fakes.clock import START
from tests.fakes.events import body_of, new_uid
from tests.fakes.secret_box import PlainSecretBox

SUBSCRIBERS = f"{PREFIX}/resthook_subscribers.json"
RESTHOOKS = f"{PREFIX}/resthooks.json"
EVENTS = f"{PREFIX}/resthook_events.json"
TARGET = "https://hooks.example.com/a"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

Result = TypeVar("Result")


@dataclass
class Surface:
    """The service, organizations with keys, and a producer."""

    engine: AsyncEngine
    client: Client
    troubles: Troubles
    administration: Administration
    key: NewKey
    other_key: NewKey

    def headers(self, key: NewKey | None = None, /, **others: str) -> dict[str, str]:
        return {"Authorization": f"Token {(key or self.key).text}", **others}

    async def call(self, method: str, path: str | URL, **options: Any) -> tuple[int, Any]:
        """Status and JSON, with the first organization's key unless ``headers`` says otherwise."""
        options.setdefault("headers", self.headers())
        url = self.client.make_url("/").join(URL(path))
        async with self.client.session.request(method, url, **options) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def subscribe(self, resthook: str = "message.sent", url: str = TARGET, **fields: Any) -> Any:
        status, body = await self.call(
            "POST", SUBSCRIBERS, json={"resthook": resthook, "target_url": url, **fields}, headers=self.headers()
        )
        assert status == 201, body
        return body

    def temba(self, key: NewKey | None = None, token: str | None = None, url: str | None = None) -> TembaClient:
        """The official client. It blocks: what it does runs ``aside``."""
        return TembaClient(url or str(self.client.make_url("")), token or (key or self.key).text)

    async def publish(self, number: int, organization_id: str = "org_1", event_type: str = "message.sent") -> Event:
        return await self.publish_body(body_of(id=f"evt_{number}", organization_id=organization_id, type=event_type))

    async def publish_body(self, body: bytes) -> Event:
        """Record an event, as the intake does."""
        event = parse_event(body, START)
        assert isinstance(event, Event), event
        version = await self.sql("SELECT directory_version FROM organizations WHERE id = $1", event.organization_id)
        store = PostgresDeliveryStore(self.engine, worker_name="worker-1", lease_seconds=60)
        assert isinstance(await store.record([Recording(new_uid(), event, version, ())]), Recorded)
        return event

    async def add_type(self, name: str, organization_id: str = "org_1") -> None:
        await self.sql(
            "INSERT INTO event_types (organization_id, name, description, schema) VALUES ($1, $2, '', '{}')",
            organization_id,
            name,
        )

    async def sql(self, statement: str, *values: object) -> Any:
        async with driver(self.engine) as connection:
            return await connection.fetchval(statement, *values)


async def aside(blocking: Callable[..., Result], *arguments: Any) -> Result:
    """Run what blocks in a thread of its own: the server needs this one."""
    return await asyncio.to_thread(blocking, *arguments)


@asynccontextmanager
async def serving(
    database_url: str,
    *,
    page_size: int = PAGE_SIZE,
    public_url: str | None = None,
    limit_per_hour: int = 1_000_000,
) -> AsyncIterator[Surface]:
    """A surface with two organizations; http is allowed on loopback alone."""
    engine, box, troubles = connect(database_url), PlainSecretBox(), Troubles()
    policy = EgressPolicy(allow=(parse_cidr_rule("127.0.0.0/8"),))
    entrance = real_entrance(engine, limit_per_hour=limit_per_hour)
    endpoints = EndpointStore(engine, box, EndpointRules(policy, STANDARD, 15.0, read_certificate))
    v2 = make_v2(endpoints, ResthookReader(engine, box), entrance, troubles, public_url, page_size=page_size)
    app = make_api([], entrance, troubles, surfaces={PREFIX: v2}, configured_url=public_url)
    try:
        keys = [await make_key(engine, organization_id) for organization_id in ("org_1", "org_2")]
        async with TestClient(TestServer(app)) as client:
            yield Surface(engine, client, troubles, Administration(engine, box), *keys)
        assert troubles.heard == []
    finally:
        await engine.dispose()
