"""Keys and rate limits on a real PostgreSQL: who passes, how often, and what every response tells."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import connect
from service.adapters.postgres.requests.keys import KeyStore
from service.adapters.postgres.requests.rate_windows import RateWindowStore
from service.api.errors import ApiError
from service.core.api_key import NewKey
from tests.api.conftest import Client
from tests.api.entrance_rig import Things, bearing, make_key, real_entrance, serving, sql
from tests.fakes.actor import SOMEBODY

pytestmark = pytest.mark.clock

LIMIT_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


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
    assert (body["rate_limit"]["limit"], body["rate_limit"]["remaining"]) == (3, 2)
    assert time.time() + 3500 < body["rate_limit"]["reset"] < time.time() + 3610


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
            assert 3500 < wait_seconds <= 3600
            assert response.headers["X-RateLimit-Remaining"] == "0"
            assert abs(int(response.headers["X-RateLimit-Reset"]) - time.time() - wait_seconds) < 60
    assert await sql(engine, "SELECT used FROM rate_windows") == 4  # what is refused counts no further
    await sql(engine, "UPDATE rate_windows SET starts_at = now() - interval '59 min 59.01 s'")
    async with client.get("/v1/me", headers=bearing(key)) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "1")
    await sql(engine, "UPDATE rate_windows SET starts_at = now() - interval '1 hour'")
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


async def test_a_surface_of_its_own_tells_the_limit_too(engine: AsyncEngine, key: NewKey) -> None:
    entrance = real_entrance(engine, limit_per_hour=1)

    async def handle(request: web.Request) -> web.Response:
        try:
            await entrance.count(request, await entrance.authenticate(request))
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


async def test_a_lowered_limit_holds_at_once(engine: AsyncEngine) -> None:
    count = RateWindowStore(engine).count
    for used in (1, 2, 3):
        assert (await count("org:a", 10, "none")).used == used
    assert (await count("org:a", 2, "none")).used == 3
    assert (await count("org:a", 10, "none")).used == 4
    assert (await count("org:b", 2**31 - 2, "none")).used == 1


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
