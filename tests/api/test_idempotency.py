"""Idempotency-Key: done once, answered again, and never stuck."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.requests.idempotency import IdempotencyStore, purge_idempotency_keys
from service.adapters.secret_box import AesSecretBox, SecretKey
from service.api.app import make_api
from service.api.errors import ApiError, Code
from service.core.keys.api_key import NewKey
from service.ports.errors import UnavailableError
from service.ports.requests import Answered, Begun, NamedRequest, Running
from tests.api.conftest import Client, Troubles
from tests.api.entrance_rig import Things, Told, ask, bearing, make_key, real_entrance, serving, sql
from tests.fakes.secret_box import PlainSecretBox

pytestmark = pytest.mark.clock

NAMED = NamedRequest("org_a", "POST", "/v1/things", "k", b"digest")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def key(engine: AsyncEngine) -> NewKey:
    return await make_key(engine, "org_a")


@pytest.fixture
def things() -> Things:
    return Things()


@pytest.fixture
def secret_box() -> PlainSecretBox:
    return PlainSecretBox()


@pytest.fixture
async def client(engine: AsyncEngine, things: Things, secret_box: PlainSecretBox) -> AsyncIterator[Client]:
    async with serving(things.operations(), real_entrance(engine, secret_box=secret_box)) as client:
        yield client


def named(key: NewKey, name: str = "k", **headers: str) -> dict[str, str]:
    return bearing(key, **{"Idempotency-Key": name, "Content-Type": "application/json", **headers})


async def add(client: Client, key: NewKey, body: bytes = b"{}", name: str = "k") -> Told:
    return await ask(client, "POST", "/v1/things", data=body, headers=named(key, name))


async def test_the_same_request_is_answered_the_same_and_done_once(client: Client, things: Things, key: NewKey) -> None:
    first = await add(client, key, b'{"name": "\xc3\xa9"}')
    again = await add(client, key, b'{"name": "\xc3\xa9"}')
    assert (first.status, again.status, things.runs) == (201, 201, 1)
    assert first.body == again.body
    assert again.json == {"id": 1, "name": "é", "secret": "whsec_1"}
    for name in ("Location", "Content-Type"):
        assert first.headers[name] == again.headers[name]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    for name in ("X-Request-ID", "X-RateLimit-Remaining"):  # these are of this request, not of the first
        assert len(again.headers.getall(name)) == 1
        assert first.headers[name] != again.headers[name]


async def test_no_content_is_replayed_too(client: Client, things: Things, key: NewKey) -> None:
    for replayed in (None, "true"):
        async with client.delete("/v1/things/1", headers=named(key)) as response:
            assert (response.status, await response.read()) == (204, b"")
            assert response.headers.get("Idempotency-Replayed") == replayed
    assert things.runs == 1


async def test_a_key_is_of_one_organization_method_and_path(
    client: Client, engine: AsyncEngine, things: Things, key: NewKey
) -> None:
    stranger = await make_key(engine, "org_b")
    await add(client, key)
    await add(client, stranger)
    await add(client, key, name="other")
    for number in (1, 2):
        async with client.delete(f"/v1/things/{number}", headers=named(key)) as response:
            assert response.status == 204
    async with client.patch("/v1/things/1", data=b"{}", headers=named(key)) as response:
        assert response.status == 201
    assert things.runs == 6


async def test_another_key_of_the_organization_is_answered_too(
    client: Client, engine: AsyncEngine, things: Things, key: NewKey
) -> None:
    await add(client, key)
    assert (await add(client, await make_key(engine, "org_a"))).headers["Idempotency-Replayed"] == "true"
    assert (await add(client, await make_key(engine, "org_a", ["read"]))).status == 403
    assert things.runs == 1


@pytest.mark.parametrize(
    "change",
    [
        {"data": b'{"name": "b"}'},
        {"data": b'{"name": "a"} '},
        {"params": {"x": "1"}},
        {"content_type": "application/json; charset=utf-8"},
    ],
)
async def test_another_request_under_the_same_key_is_a_422(
    client: Client, things: Things, key: NewKey, change: dict[str, Any]
) -> None:
    body = b'{"name": "a"}'
    await add(client, key, body)
    headers = named(key, **{"Content-Type": change.pop("content_type", "application/json")})
    async with client.post("/v1/things", headers=headers, **({"data": body} | change)) as response:
        assert (response.status, (await response.json())["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert (await add(client, key, body)).status == 201
    assert things.runs == 1


@pytest.mark.parametrize("name", ["", "x" * 256, "caf\u00e9", "a\tb"])
async def test_what_cannot_be_a_key_is_a_400_that_names_the_header(
    client: Client, things: Things, key: NewKey, name: str
) -> None:
    response = await add(client, key, name=name)
    assert response.status == 400
    assert response.json["errors"].keys() == {"Idempotency-Key"}
    assert things.runs == 0


async def test_two_keys_are_a_400_and_one_twice_is_one(client: Client, things: Things, key: NewKey) -> None:
    for names, status in ((("a", "b"), 400), (("a", "a"), 201)):
        headers = [*bearing(key).items(), *(("Idempotency-Key", name) for name in names)]
        async with client.post("/v1/things", json={}, headers=headers) as response:
            assert response.status == status
    assert things.runs == 1


async def test_the_longest_key_and_the_longest_path(client: Client, things: Things, key: NewKey) -> None:
    rest = 1024 - len("/v1/things/")
    for path, name, status in (
        (secrets.token_hex(rest)[:rest], "~" * 255, 204),  # random: what compresses fits in any case
        ("x" * (rest + 1), "k", 404),
        ("%00", "k", 404),
        ("caf\u00e9", "k", 204),
    ):
        async with client.delete(f"/v1/things/{path}", headers=named(key, name)) as response:
            assert response.status == status


async def test_twenty_at_once_run_once(client: Client, things: Things, key: NewKey) -> None:
    things.may_end.clear()
    asked = [asyncio.create_task(add(client, key)) for _ in range(20)]
    refused = []
    for earliest in asyncio.as_completed(asked):
        refused.append((await earliest).status)
        if len(refused) == 19:  # all but the one that runs
            things.may_end.set()
    assert things.runs == 1
    assert refused == [409] * 19 + [201]
    assert {each.result().headers.get("Retry-After") for each in asked} == {"1", None}
    assert (await add(client, key)).headers["Idempotency-Replayed"] == "true"


async def test_twenty_more_are_answered_too(client: Client, things: Things, key: NewKey) -> None:
    done = await asyncio.gather(*(add(client, key) for _ in range(20)))
    assert things.runs == 1
    assert {response.status for response in done} <= {201, 409}
    assert [response.headers.get("Idempotency-Replayed") for response in done if response.status == 201].count(
        None
    ) == 1


async def test_a_refusal_is_replayed_as_it_was(client: Client, things: Things, key: NewKey) -> None:
    first, again = await add(client, key, b'{"nmae": 1}'), await add(client, key, b'{"nmae": 1}')
    assert (first.status, again.status, things.runs) == (400, 400, 0)
    assert first.body == again.body
    assert again.json["errors"] == {"nmae": ["is not a known field; did you mean 'name'?"]}
    assert again.headers["Idempotency-Replayed"] == "true"
    things.error = ApiError(409, Code.CONFLICT, "there is one", headers={"X-Mark": "1"})
    for replayed in (None, "true"):
        response = await add(client, key, name="k2")
        assert (response.status, response.headers["X-Mark"]) == (409, "1")
        assert response.headers.get("Idempotency-Replayed") == replayed
    assert things.runs == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ApiError(401, Code.INVALID_API_KEY, ""), 401),
        (ApiError(403, Code.PERMISSION_DENIED, ""), 403),
        (ApiError(409, Code.CONFLICT, "changed too often", headers={"Retry-After": "1"}), 409),
        (ApiError(429, Code.RATE_LIMIT_EXCEEDED, ""), 429),
        (ApiError(500, Code.INTERNAL_ERROR, ""), 500),
        (UnavailableError("away"), 503),
        (KeyError("a bug"), 500),
        (web.HTTPFound("/elsewhere"), 302),
    ],
)
async def test_what_asking_again_may_change_is_not_kept(
    client: Client, engine: AsyncEngine, things: Things, key: NewKey, error: Exception, status: int
) -> None:
    things.error = error
    assert (await add(client, key)).status == status
    assert await sql(engine, "SELECT count(*) FROM idempotency_keys") == 0
    things.error = None
    assert (await add(client, key)).status == 201
    assert things.runs == 2


async def test_the_same_tag_in_another_condition_is_another_request(client: Client, key: NewKey) -> None:
    for condition, status in (("If-Match", 201), ("If-None-Match", 422), ("If-Match", 201)):
        headers = {**named(key, "k"), condition: '"1-0123456789abcdef"'}
        assert (await ask(client, "POST", "/v1/things", data=b"{}", headers=headers)).status == status


def signal_after(monkeypatch: pytest.MonkeyPatch, verb: str) -> asyncio.Event:
    """Set when the store has done this."""
    done, do = asyncio.Event(), getattr(IdempotencyStore, verb)

    async def tell(*given: Any) -> None:
        await do(*given)
        done.set()

    monkeypatch.setattr(IdempotencyStore, verb, tell)
    return done


async def test_a_caller_that_goes_away_leaves_no_key_running(
    engine: AsyncEngine, things: Things, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = signal_after(monkeypatch, "keep")
    things.may_end.clear()
    app = make_api(things.operations(), real_entrance(engine), Troubles())
    runner = web.AppRunner(app)  # as the service's own: a request goes on without its caller
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/things"
    async with ClientSession() as session:
        asked = asyncio.create_task(session.post(url, data=b"{}", headers=named(key))._coro)
        await things.has_begun.wait()
        asked.cancel()  # the connection is closed with it
        await asyncio.wait([asked])
        async with session.post(url, data=b"{}", headers=named(key)) as response:
            assert response.status == 409
        things.may_end.set()
        await kept.wait()
        async with session.post(url, data=b"{}", headers=named(key)) as response:
            assert (response.status, response.headers["Idempotency-Replayed"]) == (201, "true")
    await runner.cleanup()
    assert things.runs == 1


async def test_a_cancelled_request_frees_its_key(
    client: Client, things: Things, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed = signal_after(monkeypatch, "free")
    things.may_end.clear()
    asked = asyncio.create_task(add(client, key))
    await things.has_begun.wait()
    asked.cancel()  # a test server cancels what nobody waits for, as a stop of the service does in the end
    await freed.wait()
    things.may_end.set()
    assert (await add(client, key)).status == 201
    assert things.runs == 2


async def test_a_dead_process_is_followed_by_the_same_request_only(
    client: Client, engine: AsyncEngine, things: Things, key: NewKey
) -> None:
    things.may_end.clear()
    dead = asyncio.create_task(add(client, key))
    await things.has_begun.wait()
    assert (await add(client, key)).status == 409
    await sql(engine, "UPDATE idempotency_keys SET runs_until = now()")
    assert (await add(client, key, b'{"name": "other"}')).status == 422
    things.may_end.set()
    assert (await add(client, key)).status == 201
    assert (await add(client, key)).json["id"] == 2
    await dead  # it was not dead after all: what it answers is its own, and it changes nothing that is kept
    assert (await add(client, key)).json["id"] == 2


async def test_a_late_one_neither_keeps_nor_frees(engine: AsyncEngine, key: NewKey) -> None:
    store = IdempotencyStore(engine)
    late = await store.begin(NAMED)
    assert isinstance(late, Begun)
    assert await store.begin(NAMED) == Running()
    await sql(engine, "UPDATE idempotency_keys SET runs_until = now()")
    ours = await store.begin(NAMED)
    assert isinstance(ours, Begun)
    await store.keep(NAMED, late, 200, "v1:late")
    await store.free(NAMED, late)
    assert await store.begin(NAMED) == Running()
    await store.keep(NAMED, ours, 200, "v1:ours")
    await store.free(NAMED, ours)
    assert await store.begin(NAMED) == Answered("v1:ours")


async def test_after_a_day_a_key_is_new(client: Client, engine: AsyncEngine, things: Things, key: NewKey) -> None:
    await add(client, key)
    await sql(engine, "UPDATE idempotency_keys SET created_at = now() - interval '24 hours'")
    assert "Idempotency-Replayed" not in (await add(client, key, b'{"name": "other"}')).headers
    assert (await add(client, key, b'{"name": "other"}')).headers["Idempotency-Replayed"] == "true"
    assert things.runs == 2


async def test_purging_removes_what_is_old(client: Client, engine: AsyncEngine, key: NewKey) -> None:
    for name in ("a", "b", "c"):
        await add(client, key, name=name)
    await sql(engine, "UPDATE idempotency_keys SET created_at = now() - interval '1 day' WHERE key <> 'c'")
    async with driver(engine) as connection:
        assert await purge_idempotency_keys(connection, 10) == 2
        assert await purge_idempotency_keys(connection, 10) == 0
    assert (await add(client, key, name="c")).headers["Idempotency-Replayed"] == "true"


async def test_nothing_of_an_answer_is_stored_in_clear(engine: AsyncEngine, things: Things, key: NewKey) -> None:
    boxes = [AesSecretBox([SecretKey("k1", bytes([number]) * 32)]) for number in (1, 2)]
    async with serving(things.operations(), real_entrance(engine, secret_box=boxes[0])) as client:
        await add(client, key, b'{"name": "visible?"}')
        assert (await add(client, key, b'{"name": "visible?"}')).status == 201
    row = await sql(engine, "SELECT idempotency_keys::text FROM idempotency_keys")
    assert "v1:k1:" in row
    assert not {word for word in ("whsec", "visible", "Location") if word in row}
    async with serving(things.operations(), real_entrance(engine, secret_box=boxes[1])) as client:
        response = await add(client, key, b'{"name": "visible?"}')
        assert response.status == 409
        assert "cannot be decrypted" in response.json["error"]
    assert things.runs == 1


async def test_an_answer_moved_to_another_row_does_not_open(client: Client, engine: AsyncEngine, key: NewKey) -> None:
    await add(client, key)
    await sql(engine, "UPDATE idempotency_keys SET key = 'stolen'")
    assert (await add(client, key, name="stolen")).status == 409


async def test_a_database_away_when_the_answer_is_kept_hides_nothing(
    engine: AsyncEngine, things: Things, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise UnavailableError("away")

    monkeypatch.setattr(IdempotencyStore, "keep", away)
    troubles = Troubles()
    async with serving(things.operations(), real_entrance(engine), troubles) as client:
        assert (await add(client, key)).status == 201
        assert (await add(client, key)).status == 409
    assert not troubles.heard
