"""Keys and rate limits on a real PostgreSQL: who passes, how often, and what every response tells."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import connect
from service.adapters.postgres.requests.keys import KeyStore
from service.api.errors import ApiError
from service.core.keys.api_key import NewKey
from tests.api.conftest import Client
from tests.api.entrance_rig import Things, bearing, make_key, real_entrance, serving, sql
from tests.fakes.actor import SOMEBODY

pytestmark = pytest.mark.clock

LIMIT_HEADERS = (
    *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
    *("RateLimit", "RateLimit-Policy"),
)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def key(engine: AsyncEngine) -> NewKey:
    return await make_key(engine, "org_a", name="zapier")


@pytest.fixture
async def client(engine: AsyncEngine) -> AsyncIterator[Client]:
    async with serving(Things().operations(), real_entrance(engine, limit_per_hour=3)) as client:
        yield client


async def ask(client: Client, key: NewKey) -> tuple[int, str, str]:
    async with client.get("/v1/me", headers=bearing(key)) as response:
        return response.status, response.headers["X-RateLimit-Limit"], response.headers["X-RateLimit-Remaining"]


async def test_me_says_whose_key_it_is_and_where_it_stands(client: Client, engine: AsyncEngine) -> None:
    key = await make_key(engine, "org_a", ["read"], name="zapier", expires_in=timedelta(days=1))
    async with client.get("/v1/me", headers=bearing(key)) as response:
        assert response.status == 200
        body = await response.json()
    assert body["organization_id"] == "org_a"
    assert body["key"].pop("expires_at").endswith("Z")
    assert body["key"] == {"id": key.key_id, "name": "zapier", "scopes": ["read"]}
    assert time.time() + 1100 < body["rate_limit"].pop("reset") < time.time() + 1210
    assert body["rate_limit"] == {"name": "requests", "limit": 3, "window_seconds": 3600, "remaining": 2}


async def test_a_key_without_any_scope_may_ask_who_it_is(client: Client, engine: AsyncEngine) -> None:
    assert (await ask(client, await make_key(engine, "org_a", [])))[0] == 200


async def test_a_revoked_key_is_refused_at_its_next_request(client: Client, engine: AsyncEngine, key: NewKey) -> None:
    assert (await ask(client, key))[0] == 200
    assert await KeyStore(engine).revoke(key.key_id, by=SOMEBODY)
    async with client.get("/v1/me", headers=bearing(key)) as response:
        assert response.status == 401
        assert "revoked" in await response.text()
        assert not set(LIMIT_HEADERS) & set(response.headers)


async def test_an_expired_key_is_refused(client: Client, engine: AsyncEngine) -> None:
    key = await make_key(engine, "org_a", expires_in=timedelta(seconds=-1))
    async with client.get("/v1/me", headers=bearing(key)) as response:
        assert (response.status, (await response.json())["code"]) == (401, "INVALID_API_KEY")


async def test_the_keys_of_an_organization_share_its_limit(client: Client, engine: AsyncEngine, key: NewKey) -> None:
    second = await make_key(engine, "org_a")
    stranger = await make_key(engine, "org_b")
    assert [await ask(client, each) for each in (key, second, key)] == [
        (200, "3", "2"),
        (200, "3", "1"),
        (200, "3", "0"),
    ]
    assert (await ask(client, second))[0] == 429
    assert await ask(client, stranger) == (200, "3", "2")


async def test_a_limit_of_ones_own_is_counted_apart(client: Client, engine: AsyncEngine, key: NewKey) -> None:
    own = await make_key(engine, "org_a", rate_limit_per_hour=5)
    for remaining in "43210":
        assert await ask(client, own) == (200, "5", remaining)
    assert (await ask(client, own))[0] == 429
    assert await ask(client, key) == (200, "3", "2")


async def test_too_many_is_a_429_that_says_when_to_come_back(client: Client, engine: AsyncEngine, key: NewKey) -> None:
    for _ in range(3):
        await ask(client, key)
    for _ in range(2):
        async with client.get("/v1/me", headers=bearing(key)) as response:
            assert (response.status, (await response.json())["code"]) == (429, "RATE_LIMIT_EXCEEDED")
            wait_seconds = int(response.headers["Retry-After"])
            assert 1100 < wait_seconds <= 1200  # three an hour: one comes back every twenty minutes
            assert response.headers["X-RateLimit-Remaining"] == "0"
            assert abs(int(response.headers["X-RateLimit-Reset"]) - time.time() - wait_seconds) < 60
            assert response.headers["RateLimit-Policy"] == '"requests";q=3;w=3600'
            assert response.headers["RateLimit"] == f'"requests";r=0;t={wait_seconds}'
    assert await sql(engine, "SELECT used FROM rate_buckets") <= 3  # what is refused does not count
    await sql(engine, "UPDATE rate_buckets SET used = 3, measured_at = now() - interval '1199 s'")
    async with client.get("/v1/me", headers=bearing(key)) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "1")
    await sql(engine, "UPDATE rate_buckets SET used = 3, measured_at = now() - interval '1200 s'")
    assert await ask(client, key) == (200, "3", "0")
    await sql(engine, "UPDATE rate_buckets SET measured_at = now() - interval '1 hour'")
    assert await ask(client, key) == (200, "3", "2")


async def test_every_response_to_a_key_tells_the_limit(client: Client, engine: AsyncEngine) -> None:
    key = await make_key(engine, "org_a", ["read"], rate_limit_per_hour=100)
    may = await make_key(engine, "org_a", rate_limit_per_hour=100)
    for headers, body, status in (
        (bearing(key), b"{}", 403),
        (bearing(may), b"{", 400),
        (bearing(may, **{"Content-Type": "text/plain"}), b"{}", 415),
        (bearing(may), b" " * 100_000, 413),
    ):
        async with client.post("/v1/things", data=body, headers={"Content-Type": "application/json"} | headers) as got:
            assert got.status == status
            assert set(LIMIT_HEADERS) <= set(got.headers)


async def test_a_path_or_method_that_does_not_exist_is_counted_for_a_key(client: Client, key: NewKey) -> None:
    for number, (method, path, status) in enumerate(
        (("GET", "/v1/nothing", 404), ("PUT", "/v1/things/1", 405), ("POST", "/nothing", 404), ("GET", "/v1/no", 429))
    ):
        async with client.request(method, path, headers=bearing(key)) as response:
            assert response.status == status
            assert response.headers["X-RateLimit-Remaining"] == str(max(0, 2 - number))
    for headers in ({}, {"Authorization": "Bearer nobody"}):
        async with client.get("/v1/nothing", headers=headers) as response:
            assert response.status == 404
            assert not set(LIMIT_HEADERS) & set(response.headers)


async def test_a_path_that_does_not_exist_needs_no_database(owner_database_url: str, key: NewKey) -> None:
    away = connect("postgresql://nobody@127.0.0.1:1/nothing")
    async with serving([], real_entrance(away)) as client, client.get("/v1/no", headers=bearing(key)) as response:
        assert (response.status, (await response.json())["code"]) == (404, "NOT_FOUND")
    await away.dispose()


async def test_publishing_has_a_budget_of_its_own(engine: AsyncEngine, key: NewKey) -> None:
    entrance = real_entrance(engine, limit_per_hour=2, publishing_per_minute=3)
    things = Things()
    publish = replace(things.operations()[0], scope="publish")
    async with serving([publish], entrance) as client:
        for remaining in "210":
            async with client.post("/v1/things", json={}, headers=bearing(key)) as response:
                assert (response.status, response.headers["X-RateLimit-Remaining"]) == (201, remaining)
                assert response.headers["RateLimit-Policy"] == '"publishing";q=3;w=60'
        async with client.post("/v1/things", json={}, headers=bearing(key)) as response:
            assert (response.status, int(response.headers["Retry-After"]) <= 20) == (429, True)
            assert "3 requests per minute" in (await response.json())["error"]
        assert [(await ask(client, key))[0] for _ in range(3)] == [200, 200, 429]  # the other budget was whole

        own = await make_key(engine, "org_a", rate_limit_per_hour=2)  # a key's own limit is for all that it does
        async with client.post("/v1/things", json={}, headers=bearing(own)) as response:
            assert (response.status, response.headers["RateLimit-Policy"]) == (201, '"key";q=2;w=3600')
        assert await ask(client, own) == (200, "2", "0")


async def test_a_surface_of_its_own_tells_the_limit_too(engine: AsyncEngine, key: NewKey) -> None:
    entrance = real_entrance(engine, limit_per_hour=1)

    async def handle(request: web.Request) -> web.Response:
        try:
            (await entrance.count(request, await entrance.authenticate(request))).admit()
        except ApiError as error:
            return web.json_response({}, status=error.status, headers=error.headers)
        return web.json_response({})

    surface = web.Application()
    surface.router.add_get("/x", handle)
    async with serving([], entrance, v2=surface) as client:
        for status in (200, 429):
            async with client.get("/v2/x", headers=bearing(key)) as response:
                assert (response.status, response.headers["X-RateLimit-Limit"]) == (status, "1")


async def test_simultaneous_requests_are_each_counted(engine: AsyncEngine, key: NewKey) -> None:
    async with serving([], real_entrance(engine, limit_per_hour=20)) as client:
        statuses = [status for status, *_ in await asyncio.gather(*(ask(client, key) for _ in range(30)))]
    assert (statuses.count(200), statuses.count(429)) == (20, 10)


async def test_when_a_key_was_used_is_noted_about_once_a_minute(
    client: Client, engine: AsyncEngine, key: NewKey
) -> None:
    assert await sql(engine, "SELECT last_used_at FROM api_keys") is None
    await ask(client, key)
    first = await sql(engine, "SELECT last_used_at FROM api_keys")
    await ask(client, key)
    assert await sql(engine, "SELECT last_used_at FROM api_keys") == first
    await sql(engine, "UPDATE api_keys SET last_used_at = last_used_at - interval '61 s'")
    await ask(client, key)
    assert await sql(engine, "SELECT last_used_at FROM api_keys") > first


async def test_without_a_key_the_paths_still_tell_what_they_are(client: Client) -> None:
    async with client.get("/v1/nothing") as response:
        assert response.status == 404
    async with client.put("/v1/things/1") as response:
        assert (response.status, set(response.headers["Allow"].split(","))) == (405, {"DELETE", "PATCH"})
    async with client.get("/v1/me") as response:
        assert response.status == 401


@pytest.mark.parametrize("name", ["api_key", "token", "access_token"])
async def test_a_key_in_the_query_is_answered_with_advice(client: Client, key: NewKey, name: str) -> None:
    async with client.get("/v1/me", params={name: key.text}) as response:
        assert response.status == 401
        text = await response.text()
    assert "revoke it" in text
    assert key.text not in text


@pytest.mark.parametrize(
    "header",
    [
        b"X-API-Key: \xff\xfe",
        b"X-API-Key: caf\xc3\xa9",
        b"Authorization: Bearer \xed\xa0\x80",
        b"Authorization: \xff",
        b"Authorization: Basic \xff",
        b"Authorization: Basic /////w==",
        b"Authorization: Basic " + b"Og==",
        b"X-API-Key: " + b"x" * 7000,
        b"X-API-Key: " + b"x" * 70_000,
        b"X-API-Key: a\x00b",
        b"X-API-Key:",
        b"Authorization:",
    ],
)
async def test_rubbish_in_a_header_is_the_callers_error(client: Client, key: NewKey, header: bytes) -> None:
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"GET /v1/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b\r\n\r\n" % header)
    status_line = await reader.readline()
    assert status_line.split()[1] in {b"400", b"401", b"431"}, status_line
    writer.close()
    await writer.wait_closed()
