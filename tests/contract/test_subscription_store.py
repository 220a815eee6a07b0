"""What a SubscriptionStore loads, of either kind."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import MISSING, fields
from typing import Any, Protocol

import pytest

from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.engine import connect, driver
from service.core.endpoints.endpoint import StoredEndpoint
from service.ports.store import SubscriptionStore
from tests.fakes.administration import Administration
from tests.fakes.database import MemoryDatabase
from tests.fakes.secret_box import PlainSecretBox
from tests.fakes.subscription_store import MemoryAdministration, MemorySubscriptionStore

EVERYTHING: Mapping[str, Any] = {
    "sealed_headers": "v1:k1:AAAA",
    "signature_style": "t-v1",
    "signature_header": "X-Blooio-Signature",
    "filter": {"match": {"data.x": {"in": ["é", 1, 1.5, None, True]}, "data.y": {"gt": 2**53 + 1, "lt": 2**63 - 1}}},
    "retry": [4, 16.5, 64],
    "timeout_seconds": 7.5,
}


class Both(Protocol):
    """Either kind: the store under test, and a way to write what it loads."""

    store: SubscriptionStore
    administration: Any

    async def set_endpoint(self, endpoint_id: str, **settings: Any) -> None: ...


class InMemory:
    def __init__(self) -> None:
        database = MemoryDatabase()
        self.store: SubscriptionStore = MemorySubscriptionStore(database)
        self.administration: Any = MemoryAdministration(database, PlainSecretBox())

    async def set_endpoint(self, endpoint_id: str, **settings: Any) -> None:
        await self.administration.set_endpoint(endpoint_id, **settings)


class InPostgres:
    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.store: SubscriptionStore = PostgresSubscriptionStore(engine)
        self.administration: Any = Administration(engine, PlainSecretBox())

    async def set_endpoint(self, endpoint_id: str, **settings: Any) -> None:
        async with driver(self._engine) as connection:
            for column, value in settings.items():
                written = json.dumps(value) if column in {"filter", "retry"} else value
                await connection.execute(f"UPDATE endpoints SET {column} = $1 WHERE id = $2", written, endpoint_id)  # noqa: S608 - a column of EVERYTHING


@pytest.fixture
def in_memory() -> InMemory:
    return InMemory()


@pytest.fixture
async def in_postgres(database_url: str) -> AsyncIterator[InPostgres]:
    engine = connect(database_url)
    yield InPostgres(engine)
    await engine.dispose()


@pytest.fixture(params=["in_memory", pytest.param("in_postgres", marks=pytest.mark.servers)])
def kind(request: pytest.FixtureRequest) -> Both:
    found: Both = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def both(kind: Both) -> Both:
    await kind.administration.create_organization("org_1")
    return kind


async def _loaded(both: Both) -> dict[str, StoredEndpoint]:
    (directory,) = await both.store.load(["org_1", "org_nobody"])
    return {each.url: each for each in directory.endpoints}


async def test_an_endpoint_that_asks_for_nothing(both: Both) -> None:
    made = await both.administration.add_endpoint("org_1", "https://a.example/", ["message.*", "*"])
    stored = (await _loaded(both))["https://a.example/"]
    assert [event_type for _, event_type in stored.subscriptions] == ["message.*", "*"]
    assert stored == StoredEndpoint(made.id, made.url, False, stored.secrets, stored.subscriptions)  # noqa: FBT003
    assert len(stored.secrets) == 1


def test_everything_is_everything() -> None:
    assert EVERYTHING.keys() == {each.name for each in fields(StoredEndpoint) if each.default is not MISSING}


async def test_an_endpoint_that_asks_for_everything(both: Both) -> None:
    made = await both.administration.add_endpoint("org_1", "https://a.example/", ["message.sent"])
    await both.administration.add_endpoint("org_1", "https://b.example/", ["message.sent"])
    await both.set_endpoint(made.id, **EVERYTHING)
    loaded = await _loaded(both)
    stored = loaded["https://a.example/"]
    assert {name: getattr(stored, name) for name in EVERYTHING} == EVERYTHING
    assert loaded["https://b.example/"].filter is None


@pytest.mark.parametrize("retry", ["politicalcomms", [5]])
async def test_a_schedule_by_name_or_by_list(both: Both, retry: object) -> None:
    made = await both.administration.add_endpoint("org_1", "https://a.example/", ["message.sent"])
    await both.set_endpoint(made.id, retry=retry)
    assert (await _loaded(both))["https://a.example/"].retry == retry
