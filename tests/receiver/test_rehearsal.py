"""Real receivers are rehearsed over real sockets: right ones, and one for each mistake, which the report names alone."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fastapi import FastAPI
from werkzeug.serving import WSGIRequestHandler, make_server

from service.adapters.exit.sender import HttpSender
from service.adapters.system import SystemClock
from service.core.endpoints.endpoint import Endpoint, Secret
from service.core.endpoints.target_policy import EgressPolicy, parse_cidr_rule
from service.core.rehearsals import case, findings
from service.core.rehearsals.case import AT_ONCE_MAX, CaseName
from service.core.rehearsals.findings import FindingCode
from service.core.rehearsals.report import Conclusion, Report
from service.core.rehearsals.result import Verdict
from service.flow.rehearse import rehearse
from tests.receiver.test_frameworks import snippet
from webhook_signature import VerificationError, Webhook
from webhook_signature.styles import STYLES, style_named

pytestmark = pytest.mark.clock

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PAIR = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
POLICY = EgressPolicy(allow=(parse_cidr_rule("127.0.0.0/8"),), allow_http=True)

Handler = Callable[[web.Request], Awaitable[web.Response]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case, "PAUSE_SECONDS", 0.3)
    monkeypatch.setattr(findings, "SLOW_ANSWER_MS", 60_000)  # this machine may be slow; the receivers are not
    monkeypatch.setenv("WEBHOOK_SECRETS", SECRET)


@asynccontextmanager
async def served(application: web.Application) -> AsyncIterator[str]:
    async with TestServer(application, host="127.0.0.1") as server:
        yield str(server.make_url("/webhooks"))


def endpoint_at(url: str, secret: str = SECRET, style: str = "standard") -> Endpoint:
    return Endpoint("ep_1", "org_1", url, (Secret(STYLES[style].decode_secret(secret)),), style=style_named(style))


async def rehearsed(url: str, secret: str = SECRET, style: str = "standard") -> Report:
    counter = iter(range(1, 100))
    async with HttpSender(POLICY) as sender:
        report = await rehearse(
            endpoint_at(url, secret, style),
            "message.sent",
            sender,
            SystemClock(),
            lambda count: bytes([next(counter)]) * count,
        )
    assert isinstance(report, Report), report
    return report


def codes(report: Report) -> set[FindingCode]:
    return {each.code for each in report.findings}


# ---------------------------------------------------------------------------- right ones


@contextmanager
def flask_served(application: Any) -> Iterator[str]:
    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_: Any) -> None: ...

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/webhooks"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def behind_aiohttp(application: FastAPI) -> web.Application:
    """An ASGI application on aiohttp's server, as far as one POST needs."""

    async def handle(request: web.Request) -> web.Response:
        body, told, chunks = await request.read(), {}, []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "path": request.path,
            "raw_path": request.path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(name.lower(), value) for name, value in request.raw_headers],
        }

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            told.update(message)
            chunks.append(message.get("body", b""))

        await application(scope, receive, send)
        return web.Response(status=told["status"], body=b"".join(chunks))

    made = web.Application()
    made.router.add_post("/webhooks", handle)
    return made


async def test_the_guides_receivers_pass_every_case() -> None:
    for application in (snippet("aiohttp").app, behind_aiohttp(snippet("fastapi").app)):
        async with served(application) as url:
            report = await rehearsed(url)
        assert (report.conclusion, report.findings) == (Conclusion.PASSED, ()), report.findings
        assert [each.case.name for each in report.results] == list(CaseName)
        assert {each.verdict for each in report.results} == {Verdict.PASSED}
    with flask_served(snippet("flask").app) as url:
        report = await rehearsed(url)
    # Werkzeug's server, which is for development, closes every connection.
    assert (report.conclusion, codes(report)) == (Conclusion.ADVISED, {FindingCode.CLOSES_CONNECTIONS})


@pytest.mark.parametrize(
    ("style", "secret", "unfit"),
    [
        ("ed25519", PAIR, set()),
        ("t-v1", "any secret text", set()),
        ("sha256-body", "any secret text", {CaseName.OLD, CaseName.FUTURE, CaseName.SEVERAL_SIGNATURES}),
    ],
)
async def test_every_signature_style_can_be_rehearsed(style: str, secret: str, unfit: set[CaseName]) -> None:
    webhook = Webhook(secret, style=style)

    async def receive(request: web.Request) -> web.Response:
        try:
            webhook.verify(await request.read(), request.headers)
        except VerificationError:
            return web.Response(status=400)
        return web.Response(status=204)

    async with served(application_of(receive)) as url:
        report = await rehearsed(url, secret, style)
    assert (report.conclusion, report.findings) == (Conclusion.PASSED, ())
    assert {each.case.name for each in report.results if each.is_unfit} == unfit


# ---------------------------------------------------------------------------- one for each mistake

WEBHOOK = Webhook(SECRET)


def application_of(handler: Handler) -> web.Application:
    application = web.Application()
    application.router.add_post("/webhooks", handler)
    return application


async def judged(request: web.Request, *, accepted: int = 204, refused: int = 400) -> web.Response:
    """What a right receiver answers."""
    try:
        WEBHOOK.verify(await request.read(), request.headers)
    except VerificationError:
        return web.Response(status=refused)
    return web.Response(status=accepted)


async def checks_nothing(request: web.Request) -> web.Response:
    await request.read()
    return web.Response()


async def checks_what_is_signed(request: web.Request) -> web.Response:
    return await judged(request) if "webhook-signature" in request.headers else await checks_nothing(request)


async def ignores_the_time(request: web.Request) -> web.Response:
    told = int(request.headers.get("webhook-timestamp", 0))
    try:
        Webhook(SECRET, now=lambda: told).verify(await request.read(), request.headers)
    except VerificationError:
        return web.Response(status=400)
    return web.Response()


async def ignores_the_future(request: web.Request) -> web.Response:
    told = int(request.headers.get("webhook-timestamp", 0))
    try:
        Webhook(SECRET, now=lambda: max(time.time(), told)).verify(await request.read(), request.headers)
    except VerificationError:
        return web.Response(status=400)
    return web.Response()


async def reads_the_first_signature(request: web.Request) -> web.Response:
    headers = dict(request.headers)
    headers["webhook-signature"] = request.headers.get("webhook-signature", "").split(" ")[0]
    try:
        WEBHOOK.verify(await request.read(), headers)
    except VerificationError:
        return web.Response(status=401)
    return web.Response()


def writes_json_again(**options: Any) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        try:
            WEBHOOK.verify(json.dumps(await request.json(), **options).encode(), request.headers)
        except VerificationError:
            return web.Response(status=400)
        return web.Response()

    return handle


def refuses_what_it_has() -> Handler:
    inbox: set[str] = set()

    async def handle(request: web.Request) -> web.Response:
        reply = await judged(request)
        event_id = request.headers.get("webhook-id", "")
        if reply.status == 204 and event_id in inbox:
            return web.Response(status=409)
        inbox.add(event_id)
        return reply

    return handle


async def refuses_new_types(request: web.Request) -> web.Response:
    reply = await judged(request)
    return reply if (await request.json())["type"] == "message.sent" else web.Response(status=422)


async def takes_little(request: web.Request) -> web.Response:
    return await judged(request) if (request.content_length or 0) < 100_000 else web.Response(status=413)


async def is_impatient(request: web.Request) -> web.Response:
    """As if it waited for less than the sender's pause; how long a body takes here, nobody knows."""
    reply = await judged(request)
    return web.Response(status=408) if request.headers["X-Event-ID"].endswith("_slow") else reply


def takes_two_at_once(**headers: str) -> Handler:
    busy: list[str] = []
    has_refused = asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        if "at_once" not in request.headers.get("webhook-id", ""):
            return await judged(request)
        if len(busy) == 2:
            has_refused.set()
            return web.Response(status=503, headers=headers)
        busy.append(request.headers["webhook-id"])
        await has_refused.wait()
        return await judged(request)

    return handle


async def closes_connections(request: web.Request) -> web.Response:
    reply = await judged(request)
    reply.force_close()
    return reply


def loses_its_place() -> Handler:
    """As if it had left the body of what it refused on the connection, and read that as the next request."""
    spoilt: set[object] = set()

    async def handle(request: web.Request) -> web.Response:
        if request.transport in spoilt:
            return web.Response(status=400)
        reply = await judged(request)
        if reply.status == 400:
            spoilt.add(request.transport)
        return reply

    return handle


def refuses_with(status: int) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return await judged(request, refused=status)

    return handle


def answers(status: int, **headers: str) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=status, headers=headers)

    return handle


async def has_another_secret(request: web.Request) -> web.Response:
    try:
        Webhook(OTHER).verify(await request.read(), request.headers)
    except VerificationError:
        return web.Response(status=401, text="who are you?")
    return web.Response()


MISTAKES: list[tuple[Callable[[], Handler], FindingCode, bool]] = [
    (lambda: checks_nothing, FindingCode.SIGNATURE_NOT_CHECKED, True),
    (lambda: checks_what_is_signed, FindingCode.UNSIGNED_ACCEPTED, True),
    (lambda: ignores_the_time, FindingCode.TIME_NOT_CHECKED, True),
    (lambda: ignores_the_future, FindingCode.TIME_NOT_CHECKED, False),
    (lambda: reads_the_first_signature, FindingCode.ONE_SIGNATURE_ONLY, True),
    (writes_json_again, FindingCode.BODY_RESPELLED, True),
    (lambda: writes_json_again(separators=(",", ":"), ensure_ascii=False), FindingCode.BODY_RESPELLED, True),
    (refuses_what_it_has, FindingCode.DUPLICATE_REFUSED, True),
    (lambda: refuses_new_types, FindingCode.UNKNOWN_TYPE_REFUSED, False),
    (lambda: takes_little, FindingCode.LARGE_REFUSED, True),
    (lambda: is_impatient, FindingCode.SLOW_REFUSED, True),
    (takes_two_at_once, FindingCode.OVERWHELMED, True),
    (lambda: takes_two_at_once(**{"Retry-After": "1"}), FindingCode.ASKS_FOR_LESS, False),
    (lambda: closes_connections, FindingCode.CLOSES_CONNECTIONS, False),
    (loses_its_place, FindingCode.KEPT_CONNECTION_BROKEN, True),
    (lambda: refuses_with(410), FindingCode.REFUSES_WITH_410, True),
    (lambda: refuses_with(500), FindingCode.REFUSES_ODDLY, False),
    (lambda: answers(308, Location="/elsewhere"), FindingCode.REDIRECTS, True),
    (lambda: answers(404), FindingCode.WRONG_PATH, True),
    (lambda: answers(500), FindingCode.CRASHES, True),
    (lambda: has_another_secret, FindingCode.VALID_REFUSED, True),
]
NO_RECEIVER = {FindingCode.UNREACHABLE, FindingCode.SLOW_ANSWERS}
"""Shown elsewhere: nobody listens; and by durations that no test waits for."""


@pytest.mark.parametrize(
    ("make", "code", "is_must"), MISTAKES, ids=[f"{n}-{each[1]}" for n, each in enumerate(MISTAKES)]
)
async def test_a_mistake_is_named_and_no_other(make: Callable[[], Handler], code: FindingCode, is_must: bool) -> None:  # noqa: FBT001 - a column of the table
    async with served(application_of(make())) as url:
        report = await rehearsed(url)
    assert codes(report) == {code}, [(each.code, each.sentence) for each in report.findings]
    assert report.conclusion is (Conclusion.FAILED if is_must else Conclusion.ADVISED)


async def test_a_test_of_every_mistake() -> None:
    assert {code for _, code, _ in MISTAKES} == set(FindingCode) - NO_RECEIVER


async def test_nobody_listens() -> None:
    async with served(application_of(checks_nothing)) as url:
        pass
    report = await rehearsed(url)
    assert codes(report) == {FindingCode.UNREACHABLE}
    assert [len(each.sent) for each in report.results] == [1] + 13 * [0]  # one try says it


async def test_what_is_sent_says_that_it_is_a_rehearsal() -> None:
    heard: list[tuple[str, bytes]] = []

    async def listen(request: web.Request) -> web.Response:
        heard.append((request.headers["X-Event-ID"], await request.read()))
        return await judged(request)

    async with served(application_of(listen)) as url:
        report = await rehearsed(url)
    assert report.conclusion is Conclusion.PASSED
    assert len(heard) == sum(len(each.sent) for each in report.results) == 14 + AT_ONCE_MAX + 2
    for event_id, body in heard:
        assert event_id.startswith("evt_rehearsal_")
        event = json.loads(body)
        assert event["test"] is True
        assert event["id"].startswith("evt_rehearsal_")
    assert len({event_id for event_id, _ in heard}) == len(heard) - 1  # but for the copy
    assert max(len(body) for _, body in heard) == 256 * 1024
