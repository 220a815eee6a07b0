"""POST /v1/endpoints/{id}/rehearse: real receivers, through the real exit and a real PostgreSQL."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request

from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.events.types import EventTypeStore
from service.api.errors import ApiError
from service.api.operation import Call
from service.api.v1.endpoints import rehearsals
from service.api.v1.endpoints.rehearsals import AT_ONCE_MAX, REHEARSAL_SECONDS, RehearsalOperations, RehearsalWish
from service.core.audit.actor import POSTHORN
from service.core.budget import Budget
from service.core.keys.api_key import StoredKey
from service.core.rehearsals import case, findings
from service.core.rehearsals.report import Report
from service.flow.rehearse import REHEARSAL_SECONDS_MAX
from tests.api.conftest import UncountedRequests
from tests.api.endpoints_rig import RULES, SECRET_BOX
from tests.api.entrance_rig import bearing, make_key, sql
from tests.api.whole_rig import OWNER, SETTINGS, STRANGER, Whole, whole_on
from webhook_signature import VerificationError, Webhook

pytestmark = pytest.mark.clock

OPEN = {"POSTHORN_ALLOW_HTTP": "true", "POSTHORN_EGRESS_ALLOW": "127.0.0.0/8"}


class Receiver:
    """Verifies with the secrets it is given, and tells what it heard."""

    def __init__(self) -> None:
        self.secret = ""
        self.heard: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.heard.append(request)
        self.bodies.append(await request.read())
        try:
            Webhook(self.secret).verify(await request.read(), request.headers)
        except VerificationError as error:
            return web.json_response({"error": error.reason}, status=400)
        return web.Response(status=204)


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    monkeypatch.setattr(case, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(findings, "SLOW_ANSWER_MS", 60_000)  # this machine may be slow; the receiver is not
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.handle)
    async with TestServer(application, host="127.0.0.1") as server:
        receiver.url = str(server.make_url("/hook"))
        yield receiver


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url, settings=SETTINGS | OPEN) as whole:
        yield whole
        assert not whole.troubles.heard


async def registered(whole: Whole, receiver: Receiver, **fields: Any) -> str:
    asked = {"url": receiver.url, "event_types": ["message.*"], **fields}
    made = await whole.made("POST", "/v1/endpoints", asked)
    receiver.secret = made["secret"]
    return f"/v1/endpoints/{made['id']}"


async def test_a_right_receiver_passes_and_nothing_is_stored(whole: Whole, receiver: Receiver) -> None:
    path = await registered(whole, receiver, headers={"X-Pass": "p"})
    report = await whole.made("POST", f"{path}/rehearse", {})
    assert (report["conclusion"], report["findings"]) == ("passed", [])
    assert (report["url"], report["event_type"]) == (receiver.url, "message.sent")
    assert [each["verdict"] for each in report["cases"]] == ["passed"] * 14
    assert {each.headers["X-Pass"] for each in receiver.heard} == {"p"}
    for table in ("events", "open_deliveries", "final_deliveries", "attempts"):
        assert await sql(whole.engine, f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - our own names
    (entry, *_) = (await whole.made("GET", "/v1/audit", None))["data"]
    assert (entry["operation"], entry["object_id"]) == ("endpoint.rehearse", report["endpoint_id"])


async def test_a_receiver_with_another_secret_is_told_so(whole: Whole, receiver: Receiver) -> None:
    path = await registered(whole, receiver)
    receiver.secret = "whsec_" + "C" * 42 + "A="
    report = await whole.made("POST", f"{path}/rehearse", {"event_type": "message.failed"})
    assert report["conclusion"] == "failed"
    assert [each["code"] for each in report["findings"]] == ["valid_refused"]
    (sent,) = report["cases"][0]["requests"]
    assert (sent["status"], sent["text"]) == (400, '{"error": "no_match"}')
    assert receiver.heard[0].headers["X-Event-Type"] == "message.failed"


async def test_an_own_type_is_rehearsed_with_its_own_sample(whole: Whole, receiver: Receiver) -> None:
    schema = {"type": "object", "properties": {"sku": {"type": "string"}}, "additionalProperties": False}
    asked = {"name": "order.paid", "schema": schema, "sample": {"sku": "A-1"}}
    await whole.made("POST", "/v1/event-types", asked)
    path = await registered(whole, receiver, event_types=["order.*"])
    report = await whole.made("POST", f"{path}/rehearse", {})
    assert (report["conclusion"], report["event_type"]) == ("passed", "order.paid")
    events = [json.loads(body) for body in receiver.bodies]
    assert {json.dumps(each["data"]) for each in events if each["type"] == "order.paid"} == {'{"sku": "A-1"}'}
    assert max(map(len, receiver.bodies)) == 256 * 1024


async def test_an_own_type_without_a_sample_is_told_so_and_costs_nothing(whole: Whole, receiver: Receiver) -> None:
    schema = {"type": "object", "properties": {"sku": {"pattern": "^[A-Z]$"}}, "required": ["sku"]}
    await whole.made("POST", "/v1/event-types", {"name": "order.paid", "schema": schema})
    path = await registered(whole, receiver, event_types=["order.*", "message.sent"])
    for wish in ({}, {"event_type": "order.paid"}):
        told = await whole.ask("POST", f"{path}/rehearse", json=wish)
        assert (told.status, set(told.json["errors"])) == (400, {"event_type"})
        assert "no sample" in told.json["errors"]["event_type"][0]
    assert (await whole.made("POST", f"{path}/rehearse", {"event_type": "message.sent"}))["conclusion"] == "passed"


async def test_a_paused_endpoint_is_rehearsed_and_stays_paused(whole: Whole, receiver: Receiver) -> None:
    path = await registered(whole, receiver, max_in_flight=1)
    await whole.made("POST", f"{path}/pause", None)
    report = await whole.made("POST", f"{path}/rehearse", {})
    assert report["conclusion"] == "passed"
    together = next(each for each in report["cases"] if each["case"] == "at_once")
    assert len(together["requests"]) == 1  # as many as it takes
    assert (await whole.made("GET", path, None))["state"] == "paused"


async def test_an_endpoint_that_is_gone_and_a_wrong_wish_are_refused(whole: Whole, receiver: Receiver) -> None:
    path = await registered(whole, receiver)
    for event_type in ("no.such", "message.*", ""):
        told = await whole.ask("POST", f"{path}/rehearse", json={"event_type": event_type})
        assert (told.status, set(told.json["errors"])) == (400, {"event_type"})
    told = await whole.ask("POST", f"{path}/rehearse", json={"event_type": "message.snet"})
    assert told.json["errors"]["event_type"] == ["no such event type; did you mean 'message.sent'?"]
    assert (await whole.ask("POST", f"{path}/rehearse", json={"event": "x"})).status == 400
    await sql(whole.engine, "UPDATE subscriptions SET removed_at = created_at, removed_because = 'gone'")
    await sql(whole.engine, "UPDATE endpoints SET removed_at = (SELECT removed_at FROM subscriptions)")
    told = await whole.ask("POST", f"{path}/rehearse", json={})
    assert (told.status, "gone" in told.json["error"]) == (409, True)
    assert receiver.heard == []


async def test_anothers_endpoint_is_a_404_and_a_key_must_be_allowed_to_write(whole: Whole, receiver: Receiver) -> None:
    path = await registered(whole, receiver)
    assert (await whole.ask("POST", f"{path}/rehearse", json={}, by=STRANGER)).status == 404
    assert (await whole.ask("POST", "/v1/endpoints/ep_0/rehearse", json={})).status == 404
    reader = await make_key(whole.engine, OWNER, scopes=("read",))
    async with whole.client.post(f"{path}/rehearse", json={}, headers=bearing(reader)) as reply:
        assert reply.status == 403
    assert receiver.heard == []


async def test_an_organization_has_one_at_a_time(whole: Whole, receiver: Receiver) -> None:
    path = await registered(whole, receiver)
    await whole.made("POST", f"{path}/rehearse", {})
    heard = len(receiver.heard)
    told = await whole.ask("POST", f"{path}/rehearse", json={})
    assert (told.status, told.json["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert 0 < int(told.headers["Retry-After"]) <= REHEARSAL_SECONDS
    assert len(receiver.heard) == heard
    assert REHEARSAL_SECONDS_MAX < REHEARSAL_SECONDS  # so the one before has ended when the next may begin


async def test_no_rehearsal_reaches_a_refused_address(database_url: str, receiver: Receiver) -> None:
    async with whole_on(database_url, settings=SETTINGS | {"POSTHORN_ALLOW_HTTP": "true"}) as whole:
        made = await whole.made("POST", "/v1/endpoints", {"url": "https://a.example/", "event_types": ["message.sent"]})
        await sql(whole.engine, "UPDATE endpoints SET url = $1 WHERE id = $2", receiver.url, made["id"])
        report = await whole.made("POST", f"/v1/endpoints/{made['id']}/rehearse", {})
    assert report["conclusion"] == "failed"
    (sent,) = report["cases"][0]["requests"]
    assert (sent["reason"], sent["detail"]) == ("blocked_destination", "this address is not allowed")
    assert receiver.heard == []


async def test_the_same_idempotency_key_gets_the_same_report(
    whole: Whole, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsals, "REHEARSALS", Budget("rehearsals", 10, 1))
    path = await registered(whole, receiver)
    named = {"Idempotency-Key": "once"}
    first = await whole.made("POST", f"{path}/rehearse", {}, **named)
    heard = len(receiver.heard)
    assert await whole.made("POST", f"{path}/rehearse", {}, **named) == first
    assert len(receiver.heard) == heard


async def test_a_process_rehearses_so_many_at_once(whole: Whole, receiver: Receiver) -> None:
    async def never(*_: Any) -> Report | str | None:
        raise AssertionError("it is full")

    path = await registered(whole, receiver)
    desk = EndpointStore(whole.engine, SECRET_BOX, RULES)
    operations = RehearsalOperations(desk, EventTypeStore(whole.engine), UncountedRequests(), never)
    operations._at_once = AT_ONCE_MAX
    request = make_mocked_request("POST", f"{path}/rehearse", match_info={"id": path.rpartition("/")[2]})
    key = StoredKey("key_1", OWNER, b"", frozenset({"write"}), None, None, "", None)
    with pytest.raises(ApiError, match="too many receivers") as caught:
        await operations.rehearse(Call(request, key, POSTHORN, body=RehearsalWish()))
    assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
