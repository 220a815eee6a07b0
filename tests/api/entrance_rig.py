"""The entrance on a real PostgreSQL, before operations that count their runs."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDictProxy
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver
from service.adapters.postgres.requests.idempotency import IdempotencyStore
from service.adapters.postgres.requests.keys import KeyStore
from service.adapters.postgres.requests.rate_buckets import RateBucketStore
from service.api.app import make_api
from service.api.entrance.entrance import Entrance
from service.api.entrance.idempotency import Idempotency
from service.api.entrance.rate_limit import RateLimiter
from service.api.operation import Answer, Call, Operation
from service.api.v1.me import me_operation
from service.api.validation import AnswerModel, BodyModel
from service.core.keys.api_key import RANDOM_BYTES, NewKey, generate_key
from service.core.keys.grant import KeyWish
from service.ports.secrets import SecretBox
from tests.api.conftest import Client, Troubles
from tests.fakes.actor import SOMEBODY
from tests.fakes.administration import Administration
from tests.fakes.secret_box import PlainSecretBox

EVERYTHING = ("read", "write", "publish", "admin")


def real_entrance(
    engine: AsyncEngine,
    *,
    limit_per_hour: int = 2_500,
    publishing_per_minute: int = 6_000,
    secret_box: SecretBox | None = None,
) -> Entrance:
    """As the service's own."""
    answers = Idempotency(IdempotencyStore(engine), secret_box or PlainSecretBox())
    limiter = RateLimiter(
        RateBucketStore(engine), requests_per_hour=limit_per_hour, publishing_per_minute=publishing_per_minute
    )
    return Entrance(KeyStore(engine), limiter, answers, lambda: datetime.now(UTC))


async def make_key(
    engine: AsyncEngine, organization_id: str, scopes: Collection[str] = EVERYTHING, **options: Any
) -> NewKey:
    """A new key; the organization too, where it is missing."""
    await Administration(engine, PlainSecretBox()).create_organization(organization_id)
    key = generate_key(secrets.token_bytes(RANDOM_BYTES))
    await KeyStore(engine).create_key(organization_id, key, KeyWish(frozenset(scopes), **options), by=SOMEBODY)
    return key


def bearing(key: NewKey, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.text}", **headers}


@dataclass(frozen=True)
class Told:
    """A response, read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(client: Client, method: str, path: str, **options: Any) -> Told:
    """Send a request; redirects are not followed, and nothing is compressed that is not."""
    async with client.request(method, path, allow_redirects=False, **options) as response:
        return Told(response.status, response.headers, await response.read())


async def sql(engine: AsyncEngine, statement: str, *values: object) -> Any:
    """What a statement comes to: its first value."""
    async with driver(engine) as connection:
        return await connection.fetchval(statement, *values)


class ThingBody(BodyModel):
    name: str = ""


class Thing(AnswerModel):
    id: int
    name: str
    secret: str


@dataclass
class Things:
    """Operations that count their runs, wait where a test says so, and fail where it says so."""

    runs: int = 0
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.may_end.set()

    async def post(self, call: Call) -> Answer:
        self.runs += 1
        number = self.runs
        self.has_begun.set()
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        thing = Thing(id=number, name=call.body.name, secret=f"whsec_{number}")
        return Answer(201, thing, headers={"Location": f"/v1/things/{number}"})

    async def delete(self, call: Call) -> Answer:
        call.path("id")
        self.runs += 1
        return Answer(204)

    def operations(self) -> tuple[Operation, ...]:
        common: dict[str, Any] = {"summary": "", "scope": "write"}
        thing = "/v1/things/{id}"
        return (
            Operation(
                "POST",
                "/v1/things",
                name="add",
                handler=self.post,
                answers={201: Thing},
                body=ThingBody,
                **common,
            ),
            Operation("DELETE", thing, name="remove", handler=self.delete, answers={204: None}, **common),
            Operation("PATCH", thing, name="change", handler=self.post, answers={201: Thing}, body=ThingBody, **common),
        )


@asynccontextmanager
async def serving(
    operations: Sequence[Operation], entrance: Entrance, troubles: Troubles | None = None, **surfaces: web.Application
) -> AsyncIterator[Client]:
    """The API on a socket."""
    by_prefix = {f"/{name}": surface for name, surface in surfaces.items()}
    app = make_api([me_operation(), *operations], entrance, troubles or Troubles(), surfaces=by_prefix)
    async with TestClient(TestServer(app)) as client:
        yield client
