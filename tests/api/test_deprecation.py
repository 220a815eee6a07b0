"""An operation that will end says so, on every answer and in the documents; no operation does today."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp.test_utils import TestClient, TestServer

from service.adapters.postgres.engine import connect
from service.adapters.postgres.requests.idempotency import IdempotencyStore
from service.api.app import make_api
from service.api.deprecation import NOTICE, Deprecation
from service.api.documents.openapi import openapi_document
from service.api.entrance.entrance import Entrance
from service.api.entrance.idempotency import Idempotency
from service.api.entrance.rate_limit import RateLimiter
from service.api.v1.me import me_operation
from tests.api.conftest import KEY, NOW, Client, Ring, Troubles, UncountedRequests
from tests.end_to_end.known_ids import all_operations
from tests.fakes.secret_box import PlainSecretBox

SINCE = datetime(2027, 1, 1, tzinfo=UTC)
ENDING = Deprecation(SINCE, datetime(2027, 12, 31, 23, 59, 59, tzinfo=UTC), "/docs#list_keys")
HEADERS = {
    "Deprecation": "@1798761600",
    "Sunset": "Fri, 31 Dec 2027 23:59:59 GMT",
    "Link": '</docs#list_keys>; rel="deprecation"',
}
OPERATIONS = [replace(me_operation(), deprecation=ENDING), replace(me_operation(), path="/v1/stays", name="stays")]


@pytest.fixture
async def ending(ring: Ring, troubles: Troubles) -> AsyncIterator[Client]:
    nowhere = IdempotencyStore(connect("postgresql://nobody@127.0.0.1:1/nothing"))
    limiter = RateLimiter(UncountedRequests(), requests_per_hour=2_500, publishing_per_minute=6_000)
    entrance = Entrance(ring, limiter, Idempotency(nowhere, PlainSecretBox()), lambda: NOW)
    async with TestClient(TestServer(make_api(OPERATIONS, entrance, troubles))) as client:
        yield client


@pytest.mark.parametrize(("key", "status"), [(KEY.text, 200), ("ph_live_wrong", 401)])
async def test_every_answer_of_it_says_so_and_no_other(ending: Client, key: str, status: int) -> None:
    for path, expected in (("/v1/me", HEADERS), ("/v1/stays", {})):
        async with ending.get(path, headers={"Authorization": f"Bearer {key}"}) as reply:
            assert reply.status == status
            assert {name: reply.headers[name] for name in HEADERS if name in reply.headers} == expected


def test_the_document_says_so() -> None:
    paths = openapi_document(OPERATIONS, version="1", envelope_schemas={})["paths"]
    ends, stays = paths["/v1/me"]["get"], paths["/v1/stays"]["get"]
    assert ends["deprecated"] is True
    assert {"Deprecation", "Sunset"} <= set(ends["responses"]["200"]["headers"])
    assert "deprecated" not in stays
    assert not {"Deprecation", "Sunset"} & set(stays["responses"]["200"]["headers"])


def test_without_a_date_of_removal_there_is_no_sunset() -> None:
    assert "Sunset" not in Deprecation(SINCE).headers


def test_a_removal_needs_due_notice() -> None:
    assert Deprecation(SINCE, SINCE + NOTICE).sunset == SINCE + NOTICE
    with pytest.raises(ValueError, match="180 days"):
        Deprecation(SINCE, SINCE + NOTICE - timedelta(seconds=1))


def test_none_is_deprecated() -> None:
    """When the first one is, this says what to do: its row in docs/api-versions.md."""
    assert [each.name for each in all_operations() if each.deprecation is not None] == []
