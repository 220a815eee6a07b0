"""``/v1/endpoints`` on a real PostgreSQL with real sealing, and two organizations that ask."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.exit.certificates import read_certificate
from service.adapters.postgres.deliveries.reader import DeliveryReader
from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.endpoints.health import EndpointHealth
from service.adapters.postgres.endpoints.removal import remove_subscriptions
from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.events.types import EventTypeStore
from service.adapters.postgres.requests.rate_buckets import RateBucketStore
from service.adapters.secret_box import AesSecretBox, SecretKey
from service.adapters.system import SystemClock, draw, new_uid
from service.api.v1.endpoints.actions import EndpointActions
from service.api.v1.endpoints.operations import EndpointOperations
from service.api.v1.endpoints.ownership import Ownership
from service.api.v1.endpoints.showing import Showing
from service.core.deliveries.request import Fault, Reply, Request
from service.core.endpoints.retry_schedule import STANDARD
from service.core.endpoints.rules import EndpointRules
from service.core.endpoints.target_policy import EgressPolicy
from service.core.endpoints.view import RemovalReason
from service.core.keys.api_key import NewKey
from service.flow.directory.directory import Directory
from service.flow.intake.intake import Intake
from service.flow.surroundings import Surroundings
from tests.api.conftest import Client, Troubles
from tests.api.entrance_rig import Told, ask, bearing, make_key, real_entrance, serving
from tests.fakes.observer import RecordingObserver

SECRET_BOX = AesSecretBox([SecretKey("k1", bytes(range(32)))])
TIMEOUT_SECONDS_MAX = 15.0
RULES = EndpointRules(EgressPolicy(), STANDARD, TIMEOUT_SECONDS_MAX, read_certificate)
URL = "https://hooks.example.com/a"


class NobodyAsked:
    """The exit of tests in which no receiver is asked."""

    async def send(self, request: Request) -> Reply | Fault:
        raise AssertionError(f"a request was sent to {request.url}")


def nobody_asked(engine: AsyncEngine) -> Ownership:
    return Ownership(NobodyAsked(), RateBucketStore(engine), lambda: datetime.now(UTC))


async def no_pause(_: float) -> None:
    raise AssertionError("nothing here waits")


def intake_on(engine: AsyncEngine) -> Intake:
    """An intake in a process that delivers nothing."""
    around = Surroundings(SystemClock(), RecordingObserver(), draw, no_pause)
    directory = Directory(PostgresSubscriptionStore(engine), SECRET_BOX)
    store = PostgresDeliveryStore(engine, worker_name="api", lease_seconds=60)
    return Intake(store, directory, None, new_uid, around, batch_max=100, lease_seconds=60)


@dataclass
class Town:
    """The API with the organizations ``org_1`` and ``org_2``; both may do anything."""

    engine: AsyncEngine
    client: Client
    keys: Mapping[str, NewKey]
    troubles: Troubles

    async def ask(self, method: str, path: str, body: object = None, *, by: str = "org_1", **headers: str) -> Told:
        options: dict[str, Any] = {} if body is None else {"json": body}
        told = await ask(self.client, method, path, headers=bearing(self.keys[by], **headers), **options)
        assert not self.troubles.heard, self.troubles.heard
        return told

    async def create(self, url: str = URL, *, by: str = "org_1", **fields: Any) -> dict[str, Any]:
        """A new endpoint, secret included."""
        told = await self.ask("POST", "/v1/endpoints", {"url": url, "event_types": ["message.sent"], **fields}, by=by)
        assert told.status == 201, told.body
        made: dict[str, Any] = told.json
        return made

    async def get(self, endpoint_id: str) -> dict[str, Any]:
        told = await self.ask("GET", f"/v1/endpoints/{endpoint_id}")
        assert told.status == 200, told.body
        found: dict[str, Any] = told.json
        return found

    async def refused(self, method: str, path: str, body: object) -> dict[str, list[str]]:
        """The errors of a request that is not valid."""
        told = await self.ask(method, path, body)
        assert told.status == 400, (body, told.body)
        errors: dict[str, list[str]] = told.json["errors"]
        return errors

    async def ids(self, query: str = "") -> list[str]:
        told = await self.ask("GET", f"/v1/endpoints{query}")
        assert told.status == 200, told.body
        return [each["id"] for each in told.json["data"]]


@asynccontextmanager
async def town_on(database_url: str) -> AsyncIterator[Town]:
    engine = connect(database_url)
    troubles = Troubles()
    try:
        store, health = EndpointStore(engine, SECRET_BOX, RULES), EndpointHealth(engine)

        def now() -> datetime:
            return datetime.now(UTC)

        operations = [
            *EndpointOperations(store, nobody_asked(engine), Showing(health, RULES.schedule, now)).operations(),
            *EndpointActions(
                store, health, DeliveryReader(engine), EventTypeStore(engine), intake_on(engine).send_test, now
            ).operations(),
        ]
        keys = {name: await make_key(engine, name) for name in ("org_1", "org_2")}
        entrance = real_entrance(engine, secret_box=SECRET_BOX, limit_per_hour=100_000)
        async with serving(operations, entrance, troubles) as client:
            yield Town(engine, client, keys, troubles)
    finally:
        await engine.dispose()


async def end_by_410(town: Town, endpoint_id: str) -> None:
    """What the settlement of a 410 does to an endpoint with one subscription."""
    async with driver(town.engine) as connection, connection.transaction():
        ids = await connection.fetch("SELECT id FROM subscriptions WHERE endpoint_id = $1", endpoint_id)
        await remove_subscriptions(connection, [row["id"] for row in ids], because=RemovalReason.GONE)
