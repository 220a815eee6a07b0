"""PostgreSQL away: every operation says 503 and when to ask again, none hangs, and all work once it is back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import make_url

from service.adapters.postgres.engine import connect
from service.api import patience
from service.api.entrance import auth
from service.ports.errors import UnavailableError
from tests.api.entrance_rig import Told, ask, sql
from tests.api.tenancy import Territory, path_of, routes_of
from tests.api.whole_rig import OTHER_PARTS, Things, Whole, make_things, whole_on
from tests.contract.relay import Relay
from tests.end_to_end.known_ids import all_operations

OPEN = (
    "/",
    "/openapi.json",
    "/postman.json",
    "/asyncapi.json",
    "/docs",
    "/api/v2/",
    "/api/v2/resthooks",
)
BODIES = {
    **{(each.method, each.path): each.example for each in all_operations() if each.reads_body},
    ("POST", "/api/v2/resthook_subscribers{suffix}"): {"resthook": "link.clicked", "target_url": "https://x.example/"},
}
IN_TIME_SECONDS = 20.0
HASTY_SECONDS = 9.0  # a wait for a connection would take 10, a statement 30


@asynccontextmanager
async def behind_relay(database_url: str, **options: Any) -> AsyncIterator[tuple[Whole, Relay]]:
    """The application, which reaches its database through the relay; tests reach it past that."""
    url = make_url(database_url)
    async with Relay(url.host or "127.0.0.1", url.port or 5432) as relay:
        through = url.set(host="127.0.0.1", port=relay.port).render_as_string(hide_password=False)
        engine = connect(through, **options)
        try:
            async with whole_on(database_url, engine) as whole:
                yield whole, relay
        finally:
            await engine.dispose()


def requests_to(whole: Whole, things: Things) -> Iterator[tuple[str, str, object]]:
    """One of each method and path of both surfaces that needs the database: method, path, body."""
    territory = Territory(owned=things.by_template, shared=OTHER_PARTS)
    needing = {
        (method, path)
        for method, path in routes_of(whole.application)
        if path not in OPEN and not path.startswith("/docs/")
    }
    operations = {(each.method, each.path) for each in all_operations()}
    assert needing >= operations
    for method, template in sorted(needing):
        yield method, path_of(template, territory), BODIES.get((method, template))


async def answer_to(whole: Whole, method: str, path: str, body: object, **headers: str) -> Told:
    options: dict[str, Any] = {} if body is None else {"json": body}
    async with asyncio.timeout(IN_TIME_SECONDS):
        return await whole.ask(method, path, headers=headers, **options)


async def assert_all_are_unavailable(whole: Whole, things: Things) -> None:
    """Each a 503 in the shape of its surface; what the operator is told is that, too, and nothing else."""
    whole.troubles.heard.clear()
    count = 0
    for method, path, body in requests_to(whole, things):
        told = await answer_to(whole, method, path, body)
        assert told.status == 503, (method, path, told.status, told.body)
        assert told.headers["Retry-After"].isdecimal()
        assert int(told.headers["Retry-After"]) >= 1
        assert told.headers["X-Request-ID"]
        assert method == "HEAD" or _is_in_shape(path, told), (method, path, told.body)
        count += 1
    assert len(whole.troubles.heard) == count
    assert all(isinstance(each, UnavailableError) for each in whole.troubles.heard)


def _is_in_shape(path: str, told: Told) -> bool:
    if path.startswith("/api/v2"):
        return list(told.json) == ["detail"] and isinstance(told.json["detail"], str)
    return (told.json["success"], told.json["code"], told.json["statusCode"]) == (False, "UNAVAILABLE", 503)


async def assert_all_work(whole: Whole, things: Things) -> None:
    """Nothing is a 5xx. What deletes comes first in the order of methods, so a 404 is an answer here."""
    whole.troubles.heard.clear()
    for method, path, body in requests_to(whole, things):
        told = await answer_to(whole, "HEAD" if path == "/v1/stream" else method, path, body)  # it would not end
        assert told.status < 500, (method, path, told.body, whole.troubles.heard)
    assert not whole.troubles.heard


async def test_every_operation_is_unavailable_while_the_database_refuses_connections(database_url: str) -> None:
    async with behind_relay(database_url) as (whole, relay):
        things = await make_things(whole)
        await relay.close()
        await assert_all_are_unavailable(whole, things)
        await relay.open()
        await assert_all_work(whole, things)


async def test_the_documents_need_no_database(database_url: str) -> None:
    async with behind_relay(database_url) as (whole, relay):
        await relay.close()
        for path in OPEN:
            assert (await ask(whole.client, "GET", path)).status < 400, path


async def test_a_named_request_that_met_an_outage_runs_once_it_is_over(database_url: str) -> None:
    async with behind_relay(database_url) as (whole, relay):
        body = {"url": "https://named.example/", "event_types": ["message.sent"]}
        await relay.close()
        assert (await answer_to(whole, "POST", "/v1/endpoints", body, **{"Idempotency-Key": "k"})).status == 503
        await relay.open()
        assert (await answer_to(whole, "POST", "/v1/endpoints", body, **{"Idempotency-Key": "k"})).status == 201


async def test_a_restart_of_the_database_costs_no_request(database_url: str) -> None:
    """The pool's connections are all dead then: none of them is lent."""
    async with behind_relay(database_url) as (whole, relay):
        things = await make_things(whole)
        many = [answer_to(whole, "GET", "/v1/me", None) for _ in range(8)]
        await asyncio.gather(*many)  # several connections are in the pool
        await relay.close()
        await relay.open()
        await sql(whole.engine, "SELECT 1")  # while this went out and came back, the ends were seen
        await assert_all_work(whole, things)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_database_that_says_nothing_is_given_up(database_url: str, method: str) -> None:
    body = {"url": "https://named.example/", "event_types": ["message.sent"]} if method == "POST" else None
    async with behind_relay(database_url, command_timeout_seconds=0.5, pool_size=2) as (whole, relay):
        await make_things(whole)
        relay.sink()
        for _ in range(2):  # the first on the connection there is
            told = await answer_to(whole, method, "/v1/endpoints", body)
            assert told.status == 503, told.body
        relay.flow()
        assert (await answer_to(whole, method, "/v1/endpoints", body)).status in {200, 201}


@pytest.mark.parametrize("surface", ["/v1/endpoints", "/api/v2/resthook_subscribers.json"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_database_that_hangs_costs_a_request_its_patience(
    database_url: str, monkeypatch: pytest.MonkeyPatch, method: str, surface: str
) -> None:
    """However many ask at once, and whatever a statement or a wait for a connection may take."""
    assert patience.PATIENCE_SECONDS <= 4.5
    body = BODIES.get((method, surface.replace(".json", "{suffix}")))
    async with behind_relay(database_url, pool_size=2) as (whole, relay):
        await make_things(whole)
        monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.3)  # from here on: what comes before may take its time
        relay.sink()
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        many = [answer_to(whole, method, surface, body, **{"Idempotency-Key": f"k{each}"}) for each in range(30)]
        for told in await asyncio.gather(*many):
            assert told.status == 503, told.body
            assert told.headers["Retry-After"] == "1"
            assert _is_in_shape(surface, told)
        assert loop.time() - began_at < HASTY_SECONDS
        relay.flow()
        monkeypatch.undo()
        assert (await answer_to(whole, method, surface, body, **{"Idempotency-Key": "after"})).status in {200, 201}
        if left := list(patience._left_behind):
            await asyncio.wait(left)
    assert not patience._left_behind


async def test_connections_that_die_without_a_word_are_replaced(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with behind_relay(database_url, pool_size=4) as (whole, relay):
        await make_things(whole)
        await asyncio.gather(*(whole.ask("GET", "/v1/me") for _ in range(8)))
        relay.strand()
        monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.3)
        found = [told.status for told in await asyncio.gather(*(whole.ask("GET", "/v1/me") for _ in range(4)))]
        assert 503 in found
        monkeypatch.undo()
        began_at = asyncio.get_running_loop().time()
        for told in await asyncio.gather(*(whole.ask("GET", "/v1/me") for _ in range(8))):
            assert told.status == 200
        assert asyncio.get_running_loop().time() - began_at < HASTY_SECONDS
        if left := list(patience._left_behind):
            await asyncio.wait(left)


async def test_a_database_that_hangs_in_the_middle_costs_no_more(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with behind_relay(database_url, pool_size=2) as (whole, relay):
        await make_things(whole)
        monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.3)
        authenticate = auth.authenticate

        async def then_sink(*given: Any) -> Any:
            key = await authenticate(*given)
            relay.sink()
            return key

        monkeypatch.setattr("service.api.entrance.entrance.authenticate", then_sink)
        body = {"url": "https://named.example/", "event_types": ["message.sent"]}
        began_at = asyncio.get_running_loop().time()
        assert (await answer_to(whole, "POST", "/v1/endpoints", body, **{"Idempotency-Key": "k"})).status == 503
        assert asyncio.get_running_loop().time() - began_at < HASTY_SECONDS
        relay.flow()
