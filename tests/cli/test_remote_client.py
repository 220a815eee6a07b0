"""The client of the API: its sentences when it refuses, when it asks to wait, and when it is not there."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.cli.remote import client as remote
from service.cli.remote.client import ApiClient, ApiRefusalError, UnreachableError
from service.cli.remote.target import ApiTarget
from service.cli.terminal import CommandError
from tests.api.whole_rig import make_things
from tests.cli.command import free_port
from tests.cli.reach import Api
from tests.contract.certificates import write_self_signed
from tests.contract.relay import Relay

KEY = "ph_live_0001020304050607_" + "a" * 43

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def answering(*answers: web.Response) -> AsyncIterator[tuple[ApiTarget, list[web.Request]]]:
    """A server that gives each request the next answer."""
    asked: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request)
        return answers[len(asked) - 1]

    application = web.Application()
    application.router.add_route("*", "/{any:.*}", answer)
    async with TestServer(application) as server:
        yield ApiTarget(str(server.make_url("/")).rstrip("/"), KEY, "--api-url"), asked


def refused(status: int, code: str, **headers: str) -> web.Response:
    told = {"success": False, "error": "try again", "code": code, "statusCode": status}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response(told, status=status, headers=named)


async def test_the_apis_own_words_are_told(api: Api) -> None:
    async with ApiClient(api.target) as client:
        assert (await client.get("/v1/me"))["organization_id"] == "org_mine"
        with pytest.raises(ApiRefusalError) as nothing:
            await client.get("/v1/events/evt_none")
        assert (nothing.value.status, nothing.value.code, nothing.value.exit_code) == (404, "NOT_FOUND", 1)
        first, request_line = str(nothing.value).split("\n")
        assert first == "No event 'evt_none'. (404 NOT_FOUND)"
        assert request_line.startswith("  Request: req_")
        with pytest.raises(ApiRefusalError) as invalid:
            await client.request("POST", "/v1/endpoints", {"url": "x", "event_types": []})
        assert invalid.value.exit_code == 2
        assert {"  url:", "  event_types:"} <= {
            line[: line.index(":") + 1] for line in str(invalid.value).split("\n")[1:]
        }


async def test_a_list_is_read_page_by_page(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        await make_things(api.whole, number=number, url=f"https://mine.example/{number}")
    monkeypatch.setattr(remote, "PAGE_ITEMS", 2)
    async with ApiClient(api.target) as client:
        every = [each["id"] async for each in client.items("/v1/events", {"event_type": ["message.sent"]})]
        assert every == ["evt_mine2", "evt_mine1", "evt_mine0"]
        assert len([each async for each in client.items("/v1/events", count_max=2)]) == 2
        assert [each async for each in client.items("/v1/events", {"since": "2100-01-01T00:00:00Z"})] == []


async def test_it_waits_as_long_as_it_is_asked_to_and_repeats_the_same_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    busy, away = refused(429, "RATE_LIMIT_EXCEEDED", Retry_After="1"), refused(503, "UNAVAILABLE", Retry_After="1")
    async with answering(busy, away, web.json_response({"id": 1})) as (target, asked), ApiClient(target) as client:
        assert await client.request("POST", "/v1/replays", {"a": 1}) == {"id": 1}
    assert len({request.headers["Idempotency-Key"] for request in asked}) == 1
    assert capsys.readouterr().err.count("asks to wait 1 s") == 2
    async with answering(refused(503, "UNAVAILABLE", Retry_After="61")) as (target, asked), ApiClient(target) as client:
        with pytest.raises(ApiRefusalError, match=r"Try again\. \(503 UNAVAILABLE"):
            await client.get("/v1/me")
    async with answering(refused(503, "UNAVAILABLE")) as (target, asked), ApiClient(target) as client:
        with pytest.raises(ApiRefusalError):
            await client.get("/v1/me")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            web.Response(status=302, headers={"Location": "https://elsewhere.example/"}),
            "redirects to https://elsewhere",
        ),
        (web.Response(status=502, text="<h1>Bad gateway</h1>"), "answered 502, but not as the API does"),
        (web.Response(text="<h1>Welcome</h1>"), "answered with no JSON"),
        (web.Response(body=b"[" * 100_000, content_type="application/json"), "answered with no JSON"),
        (refused(400, "VALIDATION_ERROR\x1b[31m"), r"400 VALIDATION_ERROR\\x1b\[31m"),
    ],
)
async def test_what_is_not_the_api_is_told(answer: web.Response, sentence: str) -> None:
    async with answering(answer) as (target, asked), ApiClient(target) as client:
        with pytest.raises(CommandError, match=sentence):
            await client.get("/v1/me")
    assert len(asked) == 1


async def test_an_answer_without_an_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "REPLY_BYTES_MAX", 1000)
    async with answering(web.Response(body=b"x" * 1001)) as (target, _), ApiClient(target) as client:
        with pytest.raises(CommandError, match="more than 1000 bytes"):
            await client.get("/v1/me")


async def test_an_api_that_is_not_there_is_told() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    told = f"{url} .POSTHORN_API_URL. cannot be reached: connection refused. Does the service run"
    async with ApiClient(ApiTarget(url, KEY, "POSTHORN_API_URL")) as client:
        with pytest.raises(UnreachableError, match=told):
            await client.get("/v1/me")


async def test_tls_that_cannot_be_trusted_or_is_none_says_what_to_do(tmp_path: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(write_self_signed(tmp_path / "api.pem"))
    async with answering(web.json_response({})) as (plain, asked):
        port = int(plain.url.rpartition(":")[2])
        async with Relay("127.0.0.1", port, context) as relay:
            sentences = {
                f"https://127.0.0.1:{relay.port}": "its certificate is not valid: .*name a PEM file .* SSL_CERT_FILE",
                f"https://127.0.0.1:{port}": "does not speak TLS as it should: .*Is it https, on this port",
            }
            for url, sentence in sentences.items():
                async with ApiClient(ApiTarget(url, KEY, "--api-url")) as client:
                    with pytest.raises(UnreachableError, match=sentence):
                        await client.get("/v1/me")
    assert asked == []  # and no key went anywhere


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (401, "INVALID_API_KEY", "Give a key that is valid. Whoever runs the service makes one"),
        (403, "PERMISSION_DENIED", "Give a key that has it; 'posthorn keys whoami' shows what this one may do."),
    ],
)
async def test_a_key_that_does_not_do_says_what_to_do(status: int, code: str, remedy: str) -> None:
    async with answering(refused(status, code)) as (target, _), ApiClient(target) as client:
        with pytest.raises(CommandError, match=remedy):
            await client.get("/v1/me")


async def test_it_goes_through_the_environments_proxy_and_sends_no_other_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine api.example login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    async with answering(web.json_response({}), web.json_response({})) as (proxy, asked):
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with ApiClient(ApiTarget("http://api.example", KEY, "--api-url")) as client:
            await client.get("/v1/me")
        async with ApiClient(proxy) as client:
            await client.get("/v1/me")
    assert [request.headers["Host"] for request in asked] == ["api.example", proxy.url.removeprefix("http://")]
    assert [request.headers["Authorization"] for request in asked] == [f"Bearer {KEY}"] * 2
    assert json.dumps([dict(request.headers) for request in asked]).count("secret") == 0
