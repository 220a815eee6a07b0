"""Odd queries, methods and hosts on every route of the whole application: answered, and never with a fault of ours."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from tests.api.tenancy import Territory, path_of, routes_of
from tests.api.whole_rig import OTHER_PARTS, OWNER, Things, Whole, make_things, whole_on

SECONDS_MAX = 60.0
DOCUMENTS = ("/openapi.json", "/docs", "/postman.json", "/api/v2/")
QUERIES = (
    *(
        "cursor=%00",
        "cursor=%FF",
        "cursor=WyI4ODg4Il0",
        "cursor=Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OV0",
        "cursor=" + "W" * 6_000,
    ),
    *("resthook=%FF%00", "resthook=%ED%A0%80", "resthook=\xff", "id=99999999999999999999", "id=%D9%A1", "reverse=%00"),
    *("limit=99999999999999999999", "limit=1e3", "limit=%D9%A1", "hours=" + "9" * 5_000, "status_code=1" + "0" * 4_000),
    *("since=0001-01-01T00:00:00%2B14:00", "since=9999-12-31T23:59:59-14:00", "since=-9999", "since=1e400"),
    *("until=0001-01-01T00:00:00%2B14:00", "until=9999-12-31T23:59:59-14:00", "until=9999-12-31T24:00:00Z"),
    *("url=%00", "event_id=%00", "endpoint_id=%ED%A0%80", "event_type=%FF", "state=%00", "%00=%00", "a" * 7_000),
    "&".join(f"a{number}=1" for number in range(1_000)),
)
METHODS = ("HEAD", "OPTIONS", "TRACE", "CONNECT", "PUT", "FOO", "PROPFIND", "get")
HOSTS = (
    ("Host: \xff\xfe",),
    ("Host: ",),
    ("Host: a b",),
    ('Host: evil"><script>',),
    ("Host: x", "X-Forwarded-Host: \xff"),
    ("Host: x", 'X-Forwarded-Host: evil"><script>'),
    ("Host: x", "X-Forwarded-Proto: evil"),
    ("Host: x", "X-Forwarded-Prefix: //evil"),
)


@pytest.fixture(scope="module")
async def whole(migrated_database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(migrated_database_url) as whole:
        yield whole


@pytest.fixture(scope="module")
async def things(whole: Whole) -> Things:
    number = secrets.randbelow(10**9)  # the database is not empty: no other test's things are in the way of these
    return await make_things(whole, url=f"https://mine{number}.example/", number=number)


def paths_of(whole: Whole, things: Things, *methods: str) -> list[str]:
    territory = Territory(owned=things.by_template, shared=OTHER_PARTS)
    return sorted({path_of(path, territory) for method, path in routes_of(whole.application) if method in methods})


async def exchange(whole: Whole, start: str, *lines: str) -> tuple[int, str]:
    """The status and all that is said to a request's head as it is given, in Latin-1."""
    reader, writer = await asyncio.open_connection(whole.client.host, whole.client.port)
    try:
        async with asyncio.timeout(SECONDS_MAX):
            key = f"X-API-Key: {whole.keys[OWNER].text}"
            head = (f"{start} HTTP/1.1", *(lines or ("Host: x",)), key, "Accept: application/json", "Connection: close")
            writer.write("\r\n".join((*head, "", "")).encode("latin-1"))
            said = (await reader.read()).decode("latin-1")
    finally:
        writer.close()
    return int(said.split(" ", 2)[1]), said


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:40])
async def test_an_odd_query_is_never_a_fault_of_ours(whole: Whole, things: Things, query: str) -> None:
    for path in paths_of(whole, things, "GET"):
        status, said = await exchange(whole, f"GET {path}?{query}")
        assert status < 500, (path, said)
    assert not whole.troubles.heard


@pytest.mark.parametrize("method", METHODS)
async def test_an_odd_method_is_never_a_fault_of_ours(whole: Whole, things: Things, method: str) -> None:
    odd = ["/", "//v1/me", "/v1/../v1/me", "/v1/me/", "/v1/endpoints/%2F", "/v1/endpoints/a%2Fpause", "*"]
    odd += ["/api/v2/static/..%2f..%2fpages.py", "/api/v2/static/%2e%2e"]
    for path in (*paths_of(whole, things, "GET", "POST"), *odd):
        status, said = await exchange(whole, f"{method} {path}")
        assert status < 500, (path, said)
    assert not whole.troubles.heard


@pytest.mark.parametrize("lines", HOSTS, ids=lambda lines: lines[-1])
async def test_no_document_repeats_what_is_no_address(whole: Whole, lines: tuple[str, ...]) -> None:
    for path in DOCUMENTS:
        status, said = await exchange(whole, f"GET {path}", *lines)
        assert status == 200, (path, said)
        assert "evil" not in said
        assert "\xff" not in said
    assert not whole.troubles.heard
