"""The API on a real socket, with a publish that remembers and a key ring that tests fill."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from service.adapters.postgres.engine import connect
from service.adapters.postgres.requests.idempotency import IdempotencyStore
from service.api.app import make_api
from service.api.entrance.entrance import Entrance
from service.api.entrance.idempotency import Idempotency
from service.api.entrance.rate_limit import RateLimiter
from service.api.v1.publishing import PublishEvents
from service.core.budget import Budget
from service.core.events.event import Event, Rejected
from service.core.events.judged import Judged
from service.core.events.registry import REGISTRY
from service.core.keys.api_key import StoredKey, generate_key
from service.core.reason import ParkReason
from service.ports.observer import Happening, KeyLeaked, StreamGap, StreamsOpen, Trouble
from service.ports.requests import Taken
from service.ports.store import Disposition
from tests.fakes.secret_box import PlainSecretBox

NOW = datetime(2026, 11, 20, 18, 30, tzinfo=UTC)
KEY = generate_key(bytes(range(40)))
OTHER_KEY = generate_key(bytes(range(1, 41)))

Client = TestClient[Any, Any]


class Ring:
    def __init__(self) -> None:
        self.error: Exception | None = None
        self.keys = {
            key.key_id: StoredKey(key.key_id, organization_id, key.digest, frozenset({"publish"}), None, None, "", None)
            for key, organization_id in ((KEY, "org_a"), (OTHER_KEY, "org_b"))
        }

    async def find(self, key_id: str) -> StoredKey | None:
        if self.error is not None:
            raise self.error
        return self.keys.get(key_id)

    async def recent(self, count_max: int) -> Mapping[str, bytes]:
        return {key.key_id: key.digest for key in [*self.keys.values()][:count_max]}

    def change(self, **changes: Any) -> None:
        self.keys[KEY.key_id] = replace(self.keys[KEY.key_id], **changes)


@dataclass
class Publishing:
    """Stands in for the intake: the real one is tested with the flow."""

    taken: list[Event] = field(default_factory=list)
    outcomes: dict[str, Disposition | Rejected] = field(default_factory=dict)
    error: Exception | None = None
    sources: set[str] = field(default_factory=set)

    async def judge(self, events: Sequence[Event]) -> Sequence[Judged | Rejected]:
        unknown = Rejected(ParkReason.UNKNOWN_TYPE, "nobody registered it", "type")
        return [Judged(event) if event.type in REGISTRY else unknown for event in events]

    async def __call__(self, judged: Sequence[Judged], source_name: str) -> Sequence[Disposition | Rejected]:
        if self.error is not None:
            raise self.error
        events = [each.event for each in judged]
        self.taken += events
        self.sources.add(source_name)
        return [self.outcomes.get(event.id, Disposition.RECORDED) for event in events]


@dataclass
class Troubles:
    """Hears of troubles, and of keys that leaked; of what else the API tells, nothing is kept."""

    heard: list[BaseException] = field(default_factory=list)
    leaked: list[KeyLeaked] = field(default_factory=list)

    def tell(self, happening: Happening, /) -> None:
        if isinstance(happening, KeyLeaked):
            self.leaked.append(happening)
            return
        if isinstance(happening, StreamsOpen | StreamGap):
            return
        assert isinstance(happening, Trouble)
        assert happening.where in {"api", "web"}
        self.heard.append(happening.error)


@pytest.fixture
def ring() -> Ring:
    return Ring()


@pytest.fixture
def publishing() -> Publishing:
    return Publishing()


@pytest.fixture
def troubles() -> Troubles:
    return Troubles()


class UncountedRequests:
    """The RateBuckets port: nobody is ever too fast."""

    async def take(self, _bucket: str, _budget: Budget, _key_id: str) -> Taken:
        return Taken(1.0, is_refused=False, at=NOW)


@pytest.fixture
async def client(ring: Ring, publishing: Publishing, troubles: Troubles) -> AsyncIterator[Client]:
    operations = [PublishEvents(publishing.judge, publishing, lambda: NOW).operation()]
    nowhere = IdempotencyStore(connect("postgresql://nobody@127.0.0.1:1/nothing"))  # no request here names itself
    limiter = RateLimiter(UncountedRequests(), requests_per_hour=2_500, publishing_per_minute=6_000)
    entrance = Entrance(ring, limiter, Idempotency(nowhere, PlainSecretBox()), lambda: NOW)
    app = make_api(operations, entrance, troubles, new_request_id=lambda: "req_1")
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.fixture
def bearer() -> dict[str, str]:
    return {"Authorization": f"Bearer {KEY.text}"}


def envelope(event_id: str = "evt_1", **changes: Any) -> dict[str, Any]:
    """A valid event; a change to None leaves the key out."""
    whole = {
        "id": event_id,
        "type": "link.clicked",
        "timestamp": "2026-11-20T18:25:35Z",
        "organization_id": "org_a",
        "data": {
            "message": {"id": "msg_1"},
            "link": {"url": "https://example.org"},
            "click": {"id": "c_1", "clicked_at": "2026-11-20T18:25:35Z"},
        },
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()
