"""What ``/v1/endpoints`` refuses: a 400 that names every field, and nothing is stored."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.endpoints_rig import URL, Town, town_on
from tests.api.entrance_rig import ask, bearing, sql

HUGE = 10**30
BAD_URLS = (
    "",
    "example.com/hooks",
    "http://example.com/",
    "ftp://example.com/",
    "https://",
    "https:///path",
    "https://user:password@example.com/",
    "https://example.com/#part",
    "https://example.com:22/",
    "https://example.com:5432/",
    "https://example.com:99999/",
    "https://localhost/",
    "https://127.0.0.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://169.254.169.254/latest/meta-data",
    "https://0x7f000001/",
    "https://2130706433/",
    "https://①②⑦.⓪.⓪.①/",
    "https://exa mple.com/",
    "https://example.com/\r\nX-A: b",
    "https://example.com/\u0000",
    "https://example.com\\@127.0.0.1/",
    "https://example.com/" + "a" * 2048,
)
BAD_HEADERS: tuple[tuple[str, Any], ...] = (
    ("Host", "a"),
    ("Connection", "close"),
    ("Content-Length", "1"),
    ("Content-Type", "text/plain"),
    ("Transfer-Encoding", "chunked"),
    ("TE", "trailers"),
    ("Trailer", "X"),
    ("Upgrade", "h2c"),
    ("Expect", "100-continue"),
    ("Cookie", "a=b"),
    ("Proxy-Authorization", "a"),
    ("Forwarded", "for=a"),
    ("X-Forwarded-For", "a"),
    ("webhook-id", "a"),
    ("User-Agent", "a"),
    ("X-Webhook-Signature", "sha256=00"),
    ("X A", "a"),
    ("X:A", "a"),
    ("", "a"),
    ("X-Ä", "a"),
    ("X-A\r\nX-B", "a"),
    ("X-A", "a\r\nX-B: c"),
    ("X-A", "a\u0000"),
    ("X-A", "ä"),
    ("X-A", "a" * 1025),
    ("X-A", 5),
    ("X-A", None),
    ("X-A", "***"),
)
OAUTH2 = {
    "type": "oauth2",
    "token_url": "https://auth.example.com/token",
    "client_id": "posthorn",
    "client_secret": "hunter2",
}
BAD_FIELDS: tuple[tuple[str, Any, str], ...] = (
    ("url", None, "url"),
    ("url", 5, "url"),
    ("event_types", None, "event_types"),
    ("event_types", [], "event_types"),
    ("event_types", "message.sent", "event_types"),
    ("event_types", ["message.sent", "message.nothing"], "event_types[1]"),
    ("event_types", ["nothing.*"], "event_types[0]"),
    ("event_types", ["message*"], "event_types[0]"),
    ("event_types", ["\u0000"], "event_types[0]"),
    ("event_types", [5], "event_types[0]"),
    ("event_types", ["message.sent"] * 101, "event_types"),
    ("description", "a" * 501, "description"),
    ("description", "a\u0000", "description"),
    ("description", 5, "description"),
    ("headers", [], "headers"),
    ("headers", {f"X-{n}": "a" for n in range(21)}, "headers"),
    ("headers", {"X-A": "a", "x-a": "b"}, "headers.x-a"),
    ("signature_style", "ed448", "signature_style"),
    ("auth", [], "auth"),
    ("auth", {}, "auth.type"),
    ("auth", {"type": ["oauth2"]}, "auth.type"),
    ("auth", {**OAUTH2, "token_url": "http://auth.example.com/"}, "auth.token_url"),
    ("auth", {**OAUTH2, "token_url": "https://10.0.0.1/"}, "auth.token_url"),
    ("auth", {**OAUTH2, "token_url": "https://auth.example.com:5432/"}, "auth.token_url"),
    ("auth", {**OAUTH2, "token_url": 5}, "auth.token_url"),
    ("auth", {**OAUTH2, "client_id": ""}, "auth.client_id"),
    ("auth", {**OAUTH2, "client_id": None}, "auth.client_id"),
    ("auth", {**OAUTH2, "client_id": "a\u0000"}, "auth.client_id"),
    ("auth", {**OAUTH2, "client_secret": "a\r\nX: b"}, "auth.client_secret"),
    ("auth", {**OAUTH2, "client_secret": "a" * 1025}, "auth.client_secret"),
    ("auth", {**OAUTH2, "client_secret": "***"}, "auth.client_secret"),
    ("auth", {**OAUTH2, "scope": 'a"b'}, "auth.scope"),
    ("auth", {**OAUTH2, "audience": "x"}, "auth.audience"),
    ("auth", {name: value for name, value in OAUTH2.items() if name != "client_secret"}, "auth.client_secret"),
    ("signature_style", "", "signature_style"),
    ("signature_header", "X-A", "signature_header"),
    ("filter", [], "filter"),
    ("filter", {"nothing": {}}, "filter.nothing"),
    ("filter", {"scope": {"camp": ["a"]}}, "filter.scope.camp"),
    ("filter", {"match": {"data.x": {"eq": "\u0000"}}}, "filter.match.data.x.eq"),
    ("filter", {"match": {"data.x": {"gt": HUGE}}}, "filter.match.data.x.gt"),
    ("filter", {"match": {"data.\u0000": {"eq": 1}}}, "filter.match.data.\u0000"),
    ("retry", "never", "retry"),
    ("retry", [], "retry"),
    ("retry", [0], "retry"),
    ("retry", [HUGE], "retry"),
    ("retry", ["4"], "retry"),
    ("retry", 4, "retry"),
    ("timeout_seconds", 0, "timeout_seconds"),
    ("timeout_seconds", -1, "timeout_seconds"),
    ("timeout_seconds", 15.1, "timeout_seconds"),
    ("timeout_seconds", HUGE, "timeout_seconds"),
    ("timeout_seconds", True, "timeout_seconds"),
    ("timeout_seconds", "5", "timeout_seconds"),
    ("metadata", {"a": 5}, "metadata.a"),
    ("metadata", {"a": "\u0000"}, "metadata.a"),
    ("metadata", {"\u0000": "a"}, "metadata.\u0000"),
    ("metadata", {"a": "b" * 513}, "metadata.a"),
    ("metadata", {str(n): "a" for n in range(51)}, "metadata"),
    ("rate_limit_per_second", 0, "rate_limit_per_second"),
    ("rate_limit_per_second", 1e-300, "rate_limit_per_second"),
    ("rate_limit_per_second", 0.0009, "rate_limit_per_second"),
    ("rate_limit_per_second", 1000.1, "rate_limit_per_second"),
    ("rate_limit_per_second", HUGE, "rate_limit_per_second"),
    ("rate_limit_per_second", "30", "rate_limit_per_second"),
    ("rate_limit_per_second", True, "rate_limit_per_second"),
    ("max_in_flight", 0, "max_in_flight"),
    ("max_in_flight", -1, "max_in_flight"),
    ("max_in_flight", 1001, "max_in_flight"),
    ("max_in_flight", HUGE, "max_in_flight"),
    ("max_in_flight", 1.5, "max_in_flight"),
    ("max_in_flight", True, "max_in_flight"),
    ("order_by", "", "order_by"),
    ("order_by", "data..id", "order_by"),
    ("order_by", "data." + "x" * 256, "order_by"),
    ("order_by", "data.message.\x00", "order_by"),
    ("order_by", ["data.message.id"], "order_by"),
    ("order_wait_seconds", 0.9, "order_wait_seconds"),
    ("order_wait_seconds", 86_401, "order_wait_seconds"),
    ("order_wait_seconds", HUGE, "order_wait_seconds"),
    ("order_wait_seconds", "60", "order_wait_seconds"),
    ("state", "paused", "state"),
)


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with town_on(database_url) as town:
        yield town


async def on_both(town: Town, fields: dict[str, Any], url: str = URL) -> list[dict[str, list[str]]]:
    """The errors of making an endpoint so, and of changing one so, which is made with ``url``."""
    made = await town.create(url)
    body = {"url": f"{URL}/other", "event_types": ["message.sent"], **fields}
    errors = [
        await town.refused("POST", "/v1/endpoints", body),
        await town.refused("PATCH", f"/v1/endpoints/{made['id']}", fields),
    ]
    del made["secret"], made["public_key"]
    assert await town.get(made["id"]) == made
    assert await town.ids(f"?url={URL}/other") == []
    return errors


async def test_bad_urls(town: Town) -> None:
    made = await town.create()
    for url in BAD_URLS:
        for method, path, rest in (
            ("POST", "/v1/endpoints", {"event_types": ["*"]}),
            ("PATCH", f"/v1/endpoints/{made['id']}", {}),
        ):
            assert list(await town.refused(method, path, {"url": url, **rest})) == ["url"], url
    assert await sql(town.engine, "SELECT array_agg(url) FROM endpoints") == [URL]


async def test_bad_headers(town: Town) -> None:
    made = await town.create()
    for name, value in BAD_HEADERS:
        for method, path, rest in (
            ("POST", "/v1/endpoints", {"url": f"{URL}/b", "event_types": ["*"]}),
            ("PATCH", f"/v1/endpoints/{made['id']}", {}),
        ):
            errors = await town.refused(method, path, {"headers": {name: value}, **rest})
            assert [path.rpartition("headers")[2].strip(".") for path in errors] == [name.strip(".")], (
                name,
                value,
                errors,
            )
    assert await sql(town.engine, "SELECT count(*) FROM endpoints") == 1


@pytest.mark.parametrize(("field", "value", "path"), BAD_FIELDS)
async def test_a_bad_field_is_named(town: Town, field: str, value: Any, path: str) -> None:
    for errors in await on_both(town, {field: value}):
        assert list(errors) == [path], errors


async def test_every_error_at_once(town: Town) -> None:
    body = {
        "url": "http://10.0.0.1/",
        "event_types": ["message.nothing"],
        "description": 5,
        "filter": {"match": {"data.x": {"like": 1}}},
        "headers": {"Host": "a", "X-A": "b"},
        "retry": "never",
        "timeout_seconds": 100,
        "secret": "whsec_short",
        "unknown": 1,
    }
    errors = await town.refused("POST", "/v1/endpoints", body)
    assert set(errors) == {
        "url",
        "event_types[0]",
        "description",
        "filter.match.data.x.like",
        "headers.Host",
        "retry",
        "timeout_seconds",
        "secret",
        "unknown",
    }


async def test_the_signature_header_belongs_to_its_style(town: Town) -> None:
    fields: dict[str, Any] = {"signature_style": "t-v1", "signature_header": "X-Sig", "headers": {"x-sig": "a"}}
    for errors in await on_both(town, fields):
        assert list(errors) == ["signature_header"]
    for errors in await on_both(town, fields | {"headers": {}, "signature_header": "Host"}, f"{URL}/2"):
        assert list(errors) == ["signature_header"]
    made = await town.create(f"{URL}/t", signature_style="t-v1", signature_header="X-Sig")
    path = f"/v1/endpoints/{made['id']}"
    assert list(await town.refused("PATCH", path, {"headers": {"x-sig": "a"}})) == ["headers.x-sig"]
    assert (await town.ask("PATCH", path, {"signature_header": None})).json["signature_header"] is None


@pytest.mark.parametrize("secret", ["", "secret", "whsec_", "whsec_abc", "whsec_" + "A" * 400, "whsec_\u0000", 5])
async def test_a_secret_that_cannot_sign(town: Town, secret: object) -> None:
    made = await town.create()
    body = {"url": f"{URL}/b", "event_types": ["*"], "secret": secret}
    for path in ("/v1/endpoints", f"/v1/endpoints/{made['id']}/rotate-secret"):
        told = await town.ask("POST", path, body if path.endswith("endpoints") else {"secret": secret})
        assert (told.status, list(told.json["errors"])) == (400, ["secret"])
        assert not isinstance(secret, str) or len(secret) < 7 or secret not in told.body.decode()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"5", b'{"url":"\\ud800"}', b"\xff", b'{"timeout_seconds":1e400}', b"[" * 60_000],
    ids=["empty", "cut off", "a list", "a number", "half a pair", "no UTF-8", "infinity", "deep"],
)
async def test_a_body_that_is_no_object(town: Town, body: bytes) -> None:
    made = await town.create()
    for method, path in (("POST", "/v1/endpoints"), ("PATCH", f"/v1/endpoints/{made['id']}")):
        headers = bearing(town.keys["org_1"], **{"Content-Type": "application/json"})
        told = await ask(town.client, method, path, data=body, headers=headers)
        assert told.status == (200 if method == "PATCH" and not body else 400), told.body
    assert not town.troubles.heard


async def test_a_filter_as_deep_as_a_body_can_be(town: Town) -> None:
    headers = bearing(town.keys["org_1"], **{"Content-Type": "application/json"})
    for depth in (100, 190, 5_000):
        nested = b'{"match":' * depth + b"1" + b"}" * depth
        body = b'{"url":"https://a.example/","event_types":["*"],"filter":%b}' % nested
        told = await ask(town.client, "POST", "/v1/endpoints", data=body, headers=headers)
        assert told.status == 400, told.body
    assert not town.troubles.heard
