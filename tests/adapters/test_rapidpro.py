"""Reading a RapidPro API over real HTTP."""

from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from service.adapters.rapidpro import PAGE_BYTES_MAX, PAGES_MAX, TRIES_MAX, RapidProError, rapidpro_reader
from tests.adapters.rapidpro_server import TOKEN, RapidProServer, rapidpro, status, subscriber, throttled

SUBSCRIBERS = [subscriber(number, "new-mother", f"https://hooks.example/{number}") for number in range(5)]


async def read(server: RapidProServer, waits: list[float] | None = None, token: str = TOKEN) -> list[Any]:
    async def wait(seconds: float, _: str) -> None:
        (waits if waits is not None else []).append(seconds)

    found: list[Any] = []
    async with rapidpro_reader(URL(server.url), token, wait) as reader:
        async for page in reader.pages(reader.first_url("resthook_subscribers")):
            found += page.results
    return found


async def test_every_page_is_read_once() -> None:
    async with rapidpro(subscribers=SUBSCRIBERS, page_size=2) as server:
        assert await read(server) == SUBSCRIBERS
        path = "/api/v2/resthook_subscribers.json"
        assert server.asked == [path, f"{path}?cursor=2", f"{path}?cursor=4"]


async def test_it_waits_as_long_as_it_is_asked_to() -> None:
    async with rapidpro(subscribers=SUBSCRIBERS, page_size=3) as server:
        server.troubles = [lambda _: None, throttled("3600"), status(503), status(502, **{"Retry-After": "soon"})]
        waits: list[float] = []
        assert await read(server, waits) == SUBSCRIBERS
        assert waits == [3600.0, 2.0, 4.0]


async def test_it_gives_up_after_some_tries() -> None:
    async with rapidpro() as server:
        server.troubles = [throttled("1000000000")] * 100
        waits: list[float] = []
        with pytest.raises(RapidProError, match="answered 429"):
            await read(server, waits)
        assert waits == [3700.0] * (TRIES_MAX - 1)
        assert len(server.asked) == TRIES_MAX


async def test_a_server_that_is_not_there() -> None:
    async with rapidpro() as server:
        pass
    with pytest.raises(RapidProError, match="cannot be reached"):
        await read(server)


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (status(403), "does not accept the token"),
        (status(301, Location="https://elsewhere.example/"), "redirects"),
        (status(404), "answered 404"),
        (lambda _: web.Response(text="<html>"), "not JSON"),
        (lambda _: web.json_response([]), "no results"),
        (lambda _: web.json_response({"results": {}}), "no results"),
        (lambda _: web.Response(body=b" " * (PAGE_BYTES_MAX + 1)), "more than"),
    ],
)
async def test_what_is_no_answer_of_rapidpros_is_said(trouble: Any, says: str) -> None:
    async with rapidpro(subscribers=SUBSCRIBERS) as server:
        server.troubles = [trouble]
        with pytest.raises(RapidProError, match=says):
            await read(server)
        assert len(server.asked) == 1


async def test_a_wrong_token() -> None:
    async with rapidpro(subscribers=SUBSCRIBERS) as server:
        with pytest.raises(RapidProError, match="does not accept the token"):
            await read(server, token="wrong")


async def test_the_token_goes_to_no_other_server() -> None:
    async with rapidpro(subscribers=SUBSCRIBERS) as other, rapidpro() as server:
        elsewhere = f"{other.url}/api/v2/resthook_subscribers.json"
        server.troubles = [lambda _: web.json_response({"results": [], "next": elsewhere})]
        with pytest.raises(RapidProError, match="another server"):
            await read(server)
        assert other.asked == []


async def test_a_list_without_end_ends() -> None:
    async with rapidpro() as server:
        again = {"results": [], "next": f"{server.url}/api/v2/resthook_subscribers.json"}
        server.troubles = [lambda _: web.json_response(again)] * (PAGES_MAX + 1)
        with pytest.raises(RapidProError, match="more than"):
            await read(server)
        assert len(server.asked) == PAGES_MAX
