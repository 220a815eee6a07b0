"""Bodies and heads made to hurt: each is the caller's error, quickly, and never ours."""

import asyncio
import gzip
import io
import time
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import connect
from service.api.v1.publishing import PublishEvents
from service.core.keys.api_key import NewKey
from tests.api.conftest import NOW, Client, Publishing, Troubles, as_json, envelope
from tests.api.entrance_rig import Things, Told, ask, bearing, make_key, real_entrance, serving

DEEP = 100_000
PATHS = ("/v1/things", "/v1/events")

BODIES = {
    "deep array": b"[" * DEEP + b"]" * DEEP,
    "deep array, unclosed": b"[" * DEEP,
    "deep object": b'{"name":' * 10_000 + b"1" + b"}" * 10_000,
    "deep in a field": b'{"name":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "deep in data": b'{"id":"e","data":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "deep in a batch": b'{"events":[' + b"[" * 20_000 + b"]" * 20_000 + b"]}",
    "a long integer": b'{"name":' + b"9" * 60_000 + b"}",
    "a million digits": b'{"name":' + b"9" * 1_000_000 + b"}",
    "a long integer in data": b'{"id":"e","data":{"x":' + b"9" * 60_000 + b"}}",
    "a long exponent": b'{"name":1e' + b"9" * 50_000 + b"}",
    "NaN": b'{"name":NaN}',
    "Infinity": b'{"name":-Infinity}',
    "a name twice": b'{"name":"a","name":"b","name":1}',
    "lone surrogate": b'{"name":"\\ud800"}',
    "lone surrogate as a name": b'{"\\udfff":1}',
    "surrogates in UTF-8": b'{"name":"\xed\xa0\x80"}',
    "not UTF-8": b'{"name":"\xff"}',
    "not UTF-8 as a name": b'{"\xff":1}',
    "UTF-16": '{"name":"a"}'.encode("utf-16"),
    "UTF-32": '{"name":"a"}'.encode("utf-32"),
    "a mark": b"\xef\xbb\xbf{}",
    "NUL": b"\x00",
    "NUL within": b'{"name":"\x00"}',
    "NUL, escaped, as a name": b'{"\\u0000":1}',
    "only spaces": b"    ",
    "two documents": b"{}{}",
    "null": b"null",
    "a number": b"1",
    "an array": b"[]",
    "a text": b'"x"',
    "a cut": b'{"name":"a',
    "many names": b"{" + b",".join(b'"a%d":1' % n for n in range(5_000)) + b"}",
    "a long name": b'{"' + b"a" * 60_000 + b'":1}',
    "8 MiB": b" " * (8 * 1024 * 1024),
    "9 MiB": b" " * (9 * 1024 * 1024),
}


@dataclass
class Bench:
    """One service for all tests here: none of them leaves anything behind but its own organization."""

    engine: AsyncEngine
    client: Client
    publishing: Publishing
    troubles: Troubles


@pytest.fixture(scope="module")
async def bench(migrated_database_url: str) -> AsyncIterator[Bench]:
    engine, publishing, troubles = connect(migrated_database_url), Publishing(), Troubles()
    operations = [*Things().operations(), PublishEvents(publishing.judge, publishing, lambda: NOW).operation()]
    try:
        async with serving(operations, real_entrance(engine), troubles) as client:
            yield Bench(engine, client, publishing, troubles)
    finally:
        await engine.dispose()


@pytest.fixture
async def key(bench: Bench) -> NewKey:
    return await make_key(bench.engine, f"org_{uuid4().hex}")


@pytest.fixture
def client(bench: Bench) -> Client:
    return bench.client


@pytest.fixture
def publishing(bench: Bench) -> Publishing:
    bench.publishing.taken.clear()
    return bench.publishing


@pytest.fixture
def troubles(bench: Bench) -> Troubles:
    bench.troubles.heard.clear()
    return bench.troubles


async def post(client: Client, key: NewKey, path: str, body: bytes, **headers: str) -> Told:
    given = bearing(key, **{"Content-Type": "application/json", **headers})
    return await ask(client, "POST", path, data=io.BytesIO(body), headers=given)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("name", [{}, {"Idempotency-Key": "k"}], ids=["unnamed", "named"])
async def test_a_bad_body_is_a_400_or_a_413(
    client: Client,
    key: NewKey,
    publishing: Publishing,
    troubles: Troubles,
    path: str,
    body: bytes,
    name: dict[str, str],
) -> None:
    started = time.perf_counter()
    for _ in range(2):  # the second time, with a name, it is answered from what was kept
        response = await post(client, key, path, body, **name)
        assert response.status in {400, 413}, response.body
        assert response.json["statusCode"] == response.status
        assert len(response.body) < 1_000_000
    assert time.perf_counter() - started < 20
    assert not publishing.taken
    assert not troubles.heard


@pytest.mark.parametrize(
    "body", [b'{"name":"a","name":"b"}', b'{"name":"a","more":[{"x":1,"y":{},"x":1}]}'], ids=["outermost", "within"]
)
async def test_a_key_twice_is_named(client: Client, key: NewKey, body: bytes) -> None:
    """Parsers disagree on which of the two counts, so what was checked could differ from what is meant."""
    response = await post(client, key, "/v1/things", body)
    assert response.status == 400
    assert response.json["errors"] in ({"name": ["appears twice"]}, {"x": ["appears twice"]})


@pytest.mark.parametrize("value", ["\\u0000", "a\\u0000b", "\\ud800", "\\udc00\\ud800"])
async def test_what_postgresql_cannot_store_is_a_400_that_names_the_field(
    client: Client, key: NewKey, troubles: Troubles, value: str
) -> None:
    response = await post(client, key, "/v1/things", b'{"name":"%b"}' % value.encode())
    assert response.status == 400
    assert "\\ud" in value or response.json["errors"] == {"name": ["must not contain the character U+0000"]}
    body = as_json(envelope(organization_id=None)).replace(b"msg_1", value.encode())
    assert (await post(client, key, "/v1/events", body)).status == 400
    assert not troubles.heard


ENCODINGS = {
    "gzip": gzip.compress(b" " * 50_000_000),
    "gzip of deep": gzip.compress(b"[" * DEEP),
    "gzip twice": gzip.compress(gzip.compress(b" " * 50_000_000)),
    "deflate": zlib.compress(b" " * 50_000_000),
    "br": b"\x8b\x02\x80rubbish",
    "zstd": b"\x28\xb5\x2f\xfdrubbish",
    "identity": b"{",
    "gzip cut": gzip.compress(b"{}")[:9],
    "gzip of nothing": gzip.compress(b""),
    "gzip and more": gzip.compress(b"{}") + b"more",
    "deflate cut": zlib.compress(b"{}")[:-1],
    "gzip, gzip": gzip.compress(gzip.compress(b"{}")),
    "nonsense": b"{",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ENCODINGS)
async def test_a_compressed_body_is_never_taken_for_more_than_it_may_be(
    client: Client, key: NewKey, troubles: Troubles, path: str, name: str
) -> None:
    response = await post(
        client, key, path, ENCODINGS[name], **{"Content-Encoding": name.split(" ", maxsplit=1)[0].rstrip(",")}
    )
    assert response.status in {400, 413, 415}, response.body
    assert not troubles.heard


@pytest.mark.parametrize("has_key", [True, False])
async def test_what_is_packed_is_unpacked_by_nobody_before_its_turn(
    client: Client, key: NewKey, *, has_key: bool
) -> None:
    bomb = gzip.compress(b" " * 400_000_000)  # of 400 kB; whoever unpacks it needs half a second
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", **(bearing(key) if has_key else {})}
    began = time.process_time()
    told = await ask(client, "POST", "/v1/things", data=io.BytesIO(bomb), headers=headers)
    assert told.status == (413 if has_key else 401)
    assert time.process_time() - began < 0.3


async def exchange(client: Client, *parts: bytes, ends: bool = True) -> bytes:
    """The status line of the answer to bytes as they are; empty when the connection was just closed."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if ends:
            writer.write_eof()
        return await reader.readline()
    except ConnectionError:
        return await reader.readline()
    finally:
        writer.close()


def head(key: NewKey, *lines: str) -> bytes:
    given = ("POST /v1/things HTTP/1.1", "Host: x", f"X-API-Key: {key.text}", "Content-Type: application/json", *lines)
    return "\r\n".join((*given, "", "")).encode()


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (("Content-Length: 10",), b"{}"),
        (("Content-Length: -1",), b"{}"),
        (("Content-Length: x",), b"{}"),
        (("Content-Length: 2", "Content-Length: 3"), b"{}x"),
        (("Content-Length: 99999999999999999999999",), b"{}"),
        (("Content-Length: 2", "Transfer-Encoding: chunked"), b"0\r\n\r\n"),
        (("Transfer-Encoding: chunked",), b"zz\r\n{}\r\n0\r\n\r\n"),
        (("Transfer-Encoding: chunked",), b"fffffffffffffffff\r\n{}"),
        (("Transfer-Encoding: chunked",), b"2\r\n{}"),
        (("Transfer-Encoding: identity, chunked", "X: \x00"), b""),
        (("Transfer-Encoding: nonsense",), b"{}"),
    ],
)
async def test_a_length_that_lies_is_a_400(
    client: Client, key: NewKey, troubles: Troubles, lines: tuple[str, ...], body: bytes
) -> None:
    status_line = await exchange(client, head(key, *lines), body)
    assert not status_line or status_line.split()[1] == b"400", status_line
    assert not troubles.heard


async def test_a_body_without_an_end_is_a_413_as_soon_as_it_is_too_large(
    client: Client, key: NewKey, troubles: Troubles
) -> None:
    """No more of it is waited for, or held: many such requests at once must not fill the memory."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    try:
        async with asyncio.timeout(60):
            writer.write(head(key, "Transfer-Encoding: chunked") + (b"8000\r\n" + b" " * 0x8000 + b"\r\n") * 3)
            assert b" 413 " in await reader.readline()
    finally:
        writer.close()
    assert not troubles.heard


@pytest.mark.parametrize(
    "path",
    [
        "/v1/things/%00",
        "/v1/things/%ED%A0%80",
        "/v1/things/%FF",
        "/v1/things/%",
        "/v1/things/%2e%2e%2f",
        "/v1/things/" + "9" * 5_000,
        "/v1/things/a?x=%00&x=%FF&%00=%ED%A0%80",
    ],
)
async def test_an_odd_path_reaches_the_operation_or_nothing(
    client: Client, key: NewKey, troubles: Troubles, path: str
) -> None:
    request = f"DELETE {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key.text}\r\nIdempotency-Key: k\r\n\r\n"
    assert (await exchange(client, request.encode(), ends=False)).split()[1] in {b"204", b"400", b"404"}
    assert not troubles.heard
