"""verify: true. A real receiver is asked, through the real exit, before anything is stored."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request

from service.api.errors import ApiError
from service.api.operation import Call
from service.api.v1.endpoints.ownership import AT_ONCE_MAX, CHALLENGES, Ownership
from service.core.audit.actor import POSTHORN
from service.core.endpoints.settings import EndpointWish
from service.core.keys.api_key import StoredKey
from tests.api.conftest import NOW, UncountedRequests
from tests.api.endpoints_rig import NobodyAsked
from tests.api.entrance_rig import sql
from tests.api.whole_rig import SETTINGS, STRANGER, SUBSCRIBERS, Whole, whole_on
from webhook_signature import Webhook

pytestmark = pytest.mark.clock

OPEN = {"POSTHORN_ALLOW_HTTP": "true", "POSTHORN_EGRESS_ALLOW": "127.0.0.0/8"}
SECRET = "whsec_" + "A" * 43 + "="
ENDPOINTS = "/v1/endpoints"


async def by_header(request: web.Request) -> web.Response:
    return web.Response(headers={"X-Hook-Secret": request.headers["X-Hook-Secret"]})


async def by_body(request: web.Request) -> web.Response:
    return web.json_response({"challenge": (await request.json())["challenge"]})


async def in_silence(_: web.Request) -> web.Response:
    return web.Response(text="hello")


class Receiver:
    """Answers as it is told; ``heard`` are the headers and bodies of all requests."""

    def __init__(self) -> None:
        self.answer: Callable[[web.Request], Any] = by_header
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.heard.append((dict(request.headers), await request.read()))
        answered: web.Response = await self.answer(request)
        return answered


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/{name}", receiver.handle)
    async with TestServer(application, host="127.0.0.1") as server:
        receiver.url = f"http://127.0.0.1:{server.port}"
        yield receiver


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url, settings=SETTINGS | OPEN) as whole:
        yield whole
        assert not whole.troubles.heard


def wanted(url: str, **others: object) -> dict[str, object]:
    return {"url": url, "event_types": ["message.sent"], "verify": True, **others}


@pytest.mark.parametrize("answer", [by_header, by_body])
async def test_a_receiver_that_sends_the_challenge_back_is_verified(
    whole: Whole, receiver: Receiver, answer: Callable[[web.Request], Any]
) -> None:
    receiver.answer = answer
    made = await whole.made("POST", ENDPOINTS, wanted(f"{receiver.url}/a?token=t", headers={"X-Pass": "p"}))
    assert made["verified_at"] is not None
    [(headers, body)] = receiver.heard
    assert Webhook([made["secret"]]).verify(body, headers).body == body
    assert json.loads(body)["type"] == headers["X-Event-Type"] == "endpoint.verification"
    assert headers["X-Pass"] == "p"
    shown = await whole.made("GET", f"{ENDPOINTS}/{made['id']}", None)
    assert shown["verified_at"] == made["verified_at"]


async def test_a_new_pair_of_keys_signs_its_first_challenge_and_an_old_one_that_of_a_change(
    whole: Whole, receiver: Receiver
) -> None:
    made = await whole.made("POST", ENDPOINTS, wanted(f"{receiver.url}/a", signature_style="ed25519"))
    headers, body = receiver.heard[-1]
    by_old_key = Webhook([made["public_key"]], style="ed25519")
    assert by_old_key.verify(body, headers).body == body
    change = {"signature_style": "standard", "overlap_seconds": 3600, "verify": True}
    assert (await whole.made("PATCH", f"{ENDPOINTS}/{made['id']}", change))["verified_at"] > made["verified_at"]
    headers, body = receiver.heard[-1]
    assert by_old_key.verify(body, headers).body == body  # nobody knows the new secret before it is shown


async def test_a_receiver_behind_a_gateway_is_asked_with_its_token(whole: Whole, receiver: Receiver) -> None:
    async def behind_gateway(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.json_response({"access_token": "tok", "token_type": "Bearer", "expires_in": 3600})
        is_known = request.headers.get("Authorization") == "Bearer tok"
        return await by_header(request) if is_known else web.Response(status=401)

    receiver.answer = behind_gateway
    auth = {"type": "oauth2", "token_url": f"{receiver.url}/token", "client_id": "us", "client_secret": "private"}
    assert (await whole.made("POST", ENDPOINTS, wanted(f"{receiver.url}/a", auth=auth)))["verified_at"] is not None
    receiver.answer = in_silence
    told = await whole.ask("POST", ENDPOINTS, json=wanted(f"{receiver.url}/b", auth=auth))
    assert told.json["errors"]["verify"] == ["the URL was not verified: its token_url gave no token for it; check auth"]


async def test_what_does_not_answer_with_it_is_not_stored(whole: Whole, receiver: Receiver) -> None:
    receiver.answer = in_silence
    told = await whole.ask("POST", ENDPOINTS, json=wanted(f"{receiver.url}/a"))
    assert told.status == 400
    assert told.json["errors"]["verify"][0].startswith(
        "the URL was not verified: it answered 200 without the challenge"
    )
    assert (await whole.made("GET", ENDPOINTS, None))["data"] == []
    assert len(receiver.heard) == 1  # one try


async def test_without_it_no_request_is_made(whole: Whole, receiver: Receiver) -> None:
    unverified: list[dict[str, object]] = [{}, {"verify": False}, {"verify": None}]
    for number, verify in enumerate(unverified):
        asked: dict[str, object] = {"url": f"{receiver.url}/{number}", "event_types": ["message.sent"], **verify}
        assert (await whole.made("POST", ENDPOINTS, asked))["verified_at"] is None
    resthook = {"resthook": "message.sent", "target_url": f"{receiver.url}/v2", "verify": "true"}
    await whole.made("POST", f"{SUBSCRIBERS}.json", resthook)
    assert (await whole.ask("POST", ENDPOINTS, json=wanted(f"{receiver.url}/0", verify="yes"))).status == 400
    assert receiver.heard == []


async def test_a_wish_that_is_refused_anyway_asks_nobody_and_a_known_url_neither(
    whole: Whole, receiver: Receiver
) -> None:
    refused = await whole.ask("POST", ENDPOINTS, json=wanted(f"{receiver.url}/a", timeout_seconds=-1))
    assert set(refused.json["errors"]) == {"timeout_seconds"}
    await whole.made("POST", ENDPOINTS, {"url": f"{receiver.url}/a", "event_types": ["message.sent"]})
    again = await whole.ask("POST", ENDPOINTS, json=wanted(f"{receiver.url}/a"))
    assert (again.status, again.json["verified_at"]) == (200, None)
    assert receiver.heard == []


async def test_a_change_of_the_url_is_verified_and_another_one_forgets_it(whole: Whole, receiver: Receiver) -> None:
    made = await whole.made("POST", ENDPOINTS, wanted(f"{receiver.url}/a", secret=SECRET))
    path = f"{ENDPOINTS}/{made['id']}"
    described = await whole.made("PATCH", path, {"description": "same URL"})
    assert described["verified_at"] == made["verified_at"]
    moved = await whole.made("PATCH", path, {"url": f"{receiver.url}/b"})
    assert moved["verified_at"] is None
    assert len(receiver.heard) == 1
    verified = await whole.made("PATCH", path, {"verify": True})
    assert verified["verified_at"] > made["verified_at"]
    receiver.answer = in_silence
    told = await whole.ask("PATCH", path, json={"url": f"{receiver.url}/c", "description": "new", "verify": True})
    assert (told.status, set(told.json["errors"])) == (400, {"verify"})
    shown = await whole.made("GET", path, None)
    assert (shown["url"], shown["description"]) == (f"{receiver.url}/b", "same URL")
    assert shown["verified_at"] == verified["verified_at"]
    rotated = await whole.made("POST", f"{path}/rotate-secret", {"overlap_seconds": 3600})
    receiver.answer = by_header
    await whole.made("PATCH", path, {"url": f"{receiver.url}/c", "verify": True})
    headers, body = receiver.heard[-1]
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert Webhook([rotated["secret"]]).verify(body, headers).body == body


async def test_a_refused_or_taken_url_keeps_what_was_verified(whole: Whole, receiver: Receiver) -> None:
    made = await whole.made("POST", ENDPOINTS, wanted(f"{receiver.url}/a"))
    await whole.made("POST", ENDPOINTS, wanted(f"{receiver.url}/b"))
    path = f"{ENDPOINTS}/{made['id']}"
    assert (await whole.ask("PATCH", path, json={"url": f"{receiver.url}/b", "verify": True})).status == 409
    assert (await whole.made("GET", path, None))["verified_at"] == made["verified_at"]


async def test_an_address_that_is_not_allowed_is_not_told(database_url: str, receiver: Receiver) -> None:
    async with whole_on(database_url, settings=SETTINGS | {"POSTHORN_ALLOW_HTTP": "true"}) as whole:
        told = await whole.ask("POST", ENDPOINTS, json=wanted(f"{receiver.url}/a"))
        assert (told.status, set(told.json["errors"])) == (400, {"url"})
        # The exit judges for itself, whatever was stored.
        made = await whole.made("POST", ENDPOINTS, {"url": "https://public.example/", "event_types": ["message.sent"]})
        await sql(whole.engine, "UPDATE endpoints SET url = $1 WHERE id = $2", f"{receiver.url}/a", made["id"])
        refused = await whole.ask("PATCH", f"{ENDPOINTS}/{made['id']}", json={"verify": True})
        assert refused.json["errors"] == {"verify": ["the URL was not verified: this address is not allowed"]}
    assert receiver.heard == []


async def test_an_organization_gets_so_many_an_hour(whole: Whole, receiver: Receiver) -> None:
    made = await whole.made("POST", ENDPOINTS, wanted(f"{receiver.url}/a"))
    path = f"{ENDPOINTS}/{made['id']}"
    for _ in range(CHALLENGES.requests - 1):
        await whole.made("PATCH", path, {"verify": True})
    told = await whole.ask("PATCH", path, json={"verify": True})
    assert (told.status, told.json["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert int(told.headers["Retry-After"]) > 0
    assert len(receiver.heard) == CHALLENGES.requests
    await whole.made("PATCH", path, {"description": "without it all goes on"})
    await whole.made("POST", ENDPOINTS, wanted(f"{receiver.url}/theirs"), by=STRANGER)


async def test_a_process_asks_so_many_at_once() -> None:
    ownership = Ownership(NobodyAsked(), UncountedRequests(), lambda: NOW)
    key = StoredKey("key_1", "org_1", b"", frozenset({"write"}), None, None, "", None)
    call = Call(make_mocked_request("POST", ENDPOINTS), key, POSTHORN)
    wish = EndpointWish({"verify": True})
    async with AsyncExitStack() as stack:
        for _ in range(AT_ONCE_MAX):
            assert (await stack.enter_async_context(ownership.asked(call, wish)))[1] is not None
        with pytest.raises(ApiError, match="too many URLs") as caught:
            await stack.enter_async_context(ownership.asked(call, wish))
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
        await stack.enter_async_context(ownership.asked(call, EndpointWish({})))  # which asks nobody
    async with ownership.asked(call, wish) as (asked, check):
        assert (asked, check is not None) == (EndpointWish({}), True)
