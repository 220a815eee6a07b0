"""POST /v1/events: one or many, all or nothing, and each way to be refused."""

import asyncio
import io
import json
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest

from service.api.errors import ApiError
from service.api.v1 import publishing as publishing_module
from service.api.validation import ERRORS_MAX
from service.core.events.event import BODY_BYTES_MAX, Rejected
from service.core.reason import ParkReason
from service.ports.errors import UnavailableError
from service.ports.store import Disposition
from tests.api.conftest import NOW, OTHER_KEY, Client, Publishing, Troubles, as_json, envelope

ODD = b"[1e400, 1.0, 9007199254740993]"
CONFLICT = Rejected(ParkReason.CONFLICT, "another event with the id 'evt_2' was recorded first", "id")


async def test_one_envelope(client: Client, publishing: Publishing, bearer: dict[str, str]) -> None:
    async with client.post("/v1/events", json=envelope(), headers=bearer) as response:
        assert response.status == 202
        assert await response.json() == {"data": [{"id": "evt_1", "status": "accepted", "reason": None}]}
    assert publishing.sources == {"http"}
    assert json.loads(publishing.taken[0].body)["organization_id"] == "org_a"


async def test_a_batch_keeps_its_order_and_tells_duplicates(
    client: Client, publishing: Publishing, bearer: dict[str, str]
) -> None:
    publishing.outcomes["evt_2"] = Disposition.DUPLICATE
    batch = {"events": [envelope(f"evt_{number}") for number in (1, 2, 3)]}
    async with client.post("/v1/events", json=batch, headers=bearer) as response:
        assert response.status == 202
        statuses = [(each["id"], each["status"]) for each in (await response.json())["data"]]
    assert statuses == [("evt_1", "accepted"), ("evt_2", "duplicate"), ("evt_3", "accepted")]


@pytest.mark.parametrize("again", [b"[]", None], ids=["another", "the same"])
async def test_a_batch_has_one_list_of_events(
    client: Client, publishing: Publishing, bearer: dict[str, str], again: bytes | None
) -> None:
    events = as_json([envelope()])
    body = b'{"events":' + (again or events) + b',"events":' + events + b"}"
    async with client.post("/v1/events", data=body, headers=bearer | {"Content-Type": "application/json"}) as response:
        assert response.status == 400
        assert (await response.json())["errors"] == {"events": ["appears twice"]}
    assert not publishing.taken


async def test_an_absent_organization_is_the_keys(
    client: Client, publishing: Publishing, bearer: dict[str, str]
) -> None:
    async with client.post("/v1/events", json=envelope(organization_id=None), headers=bearer) as response:
        assert response.status == 202
    assert publishing.taken[0].organization_id == "org_a"


async def test_another_organization_is_refused(client: Client, publishing: Publishing) -> None:
    async with client.post("/v1/events", json=envelope(), headers={"X-API-Key": OTHER_KEY.text}) as response:
        assert response.status == 400
        assert list((await response.json())["errors"]) == ["organization_id"]
    assert not publishing.taken


async def test_numbers_keep_their_text(client: Client, publishing: Publishing, bearer: dict[str, str]) -> None:
    body = as_json(envelope(organization_id=None)).replace(b'"msg_1"', b'"msg_1","odd":' + ODD)
    for sent in (body, b'{"events": [%b]}' % body.replace(b"evt_1", b"evt_2")):
        headers = {**bearer, "Content-Type": "application/json; charset=utf-8"}
        async with client.post("/v1/events", data=sent, headers=headers) as response:
            assert response.status == 202
    assert all(ODD in event.body for event in publishing.taken)


async def test_cloudevents_are_taken(client: Client, publishing: Publishing, bearer: dict[str, str]) -> None:
    whole = envelope(organization_id=None)
    whole |= {"specversion": "1.0", "source": "/x", "time": whole.pop("timestamp")}
    headers = {**bearer, "Content-Type": "application/cloudevents+json"}
    for named in (whole, {**whole, "organizationid": "org_a"}):
        async with client.post("/v1/events", data=as_json(named), headers=headers) as response:
            assert response.status == 202
    assert [event.organization_id for event in publishing.taken] == ["org_a", "org_a"]


async def test_one_bad_event_spoils_the_batch_and_all_are_named(
    client: Client, publishing: Publishing, bearer: dict[str, str]
) -> None:
    batch: dict[str, Any] = {
        "events": [envelope(), envelope("evt_2", type="no.such"), 7, envelope("e.4"), envelope("evt_1", test=True)]
    }
    async with client.post("/v1/events", json=batch, headers=bearer) as response:
        body = await response.json()
        assert response.status == 400
    assert (body["success"], body["code"], body["statusCode"]) == (False, "VALIDATION_ERROR", 400)
    assert sorted(body["errors"]) == ["events[1].type", "events[2]", "events[3].id", "events[4].id"]
    assert all(isinstance(text, str) for texts in body["errors"].values() for text in texts)
    assert not publishing.taken


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (as_json(envelope(type="no.such")), "type"),
        (as_json(envelope(id=None)), "id"),
        (as_json(envelope(data={"message": {"id": "m"}})), "data.link.url"),
        (b"", "event"),
        (b"{", "event"),
        (b"[]", "event"),
        (b"\xff", "event"),
        (b"[" * 1_000_000, "event"),
        (b'{"events":' + b"[" * 1_000_000, "event"),
        (b'{"events": []}', "events"),
        (b'{"events": {}}', "events"),
        (as_json({"events": [envelope()] * 101}), "events"),
    ],
)
async def test_what_is_no_event_is_a_400_that_names_the_field(
    client: Client, bearer: dict[str, str], troubles: Troubles, body: bytes, field: str
) -> None:
    headers = {**bearer, "Content-Type": "application/json"}
    async with client.post("/v1/events", data=body, headers=headers) as response:
        answer = await response.json()
        assert (response.status, answer["code"]) in {(400, "VALIDATION_ERROR"), (413, "PAYLOAD_TOO_LARGE")}
    assert next(iter(answer["errors"])) == field
    assert not troubles.heard


async def test_the_caps(client: Client, publishing: Publishing, bearer: dict[str, str]) -> None:
    long = envelope(extra="x" * BODY_BYTES_MAX)
    for body, field in ((long, "event"), ({"events": [envelope("evt_2"), long]}, "events[1]")):
        async with client.post("/v1/events", json=body, headers=bearer) as response:
            answer = await response.json()
            assert (response.status, answer["code"]) == (413, "PAYLOAD_TOO_LARGE")
        assert list(answer["errors"]) == [field]
    headers = {**bearer, "Content-Type": "application/json"}
    async with client.post("/v1/events", data=io.BytesIO(b" " * 17 * BODY_BYTES_MAX), headers=headers) as response:
        assert response.status == 413
        assert (await response.json())["code"] == "PAYLOAD_TOO_LARGE"
    assert not publishing.taken


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_other_content_is_a_415(client: Client, bearer: dict[str, str], content_type: str | None) -> None:
    headers = {**bearer, "Content-Type": content_type} if content_type else bearer
    async with client.post("/v1/events", data=as_json(envelope()), headers=headers) as response:
        assert response.status == 415
        assert (await response.json())["code"] == "UNSUPPORTED_MEDIA_TYPE"


async def test_a_body_that_is_not_what_its_encoding_says_is_a_400(
    client: Client, bearer: dict[str, str], troubles: Troubles
) -> None:
    headers = {**bearer, "Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with client.post("/v1/events", data=b"no gzip", headers=headers, compress=None) as response:
        assert response.status == 400
    assert not troubles.heard


async def test_a_conflict_in_a_batch_is_told_beside_what_became_of_the_others(
    client: Client, publishing: Publishing, bearer: dict[str, str]
) -> None:
    publishing.outcomes |= {"evt_2": CONFLICT, "evt_3": Disposition.DUPLICATE}
    batch = {"events": [envelope(), envelope("evt_2"), envelope("evt_3")]}
    async with client.post("/v1/events", json=batch, headers=bearer) as response:
        assert response.status == 202
        assert await response.json() == {
            "data": [
                {"id": "evt_1", "status": "accepted", "reason": None},
                {"id": "evt_2", "status": "conflict", "reason": CONFLICT.detail},
                {"id": "evt_3", "status": "duplicate", "reason": None},
            ]
        }
    async with client.post("/v1/events", json={"events": [envelope("evt_2")]}, headers=bearer) as response:
        assert response.status == 202, "a batch is answered as a batch, however small"
        assert [each["status"] for each in (await response.json())["data"]] == ["conflict"]


async def test_a_single_event_that_conflicts_is_a_409(
    client: Client, publishing: Publishing, bearer: dict[str, str]
) -> None:
    publishing.outcomes["evt_2"] = CONFLICT
    async with client.post("/v1/events", json=envelope("evt_2"), headers=bearer) as response:
        body = await response.json()
        assert (response.status, body["code"]) == (409, "CONFLICT")
        assert body["errors"] == {"id": [CONFLICT.detail]}


async def test_every_error_of_every_event_is_told(
    client: Client, publishing: Publishing, bearer: dict[str, str]
) -> None:
    wrong = envelope("e.1", timestamp="noon", test="no", data={"message": {"id": 7}, "link": {"url": ""}, "click": {}})
    batch = {"events": [{}, envelope(), wrong]}
    async with client.post("/v1/events", json=batch, headers=bearer) as response:
        body = await response.json()
        assert response.status == 400
    assert body["error"] == "not valid: 2 of 3 events"
    assert sorted(body["errors"]) == [
        *(f"events[0].{name}" for name in ("data", "id", "timestamp", "type")),
        "events[2].data.click.clicked_at",
        "events[2].data.click.id",
        "events[2].data.link.url",
        "events[2].data.message.id",
        *(f"events[2].{name}" for name in ("id", "test", "timestamp")),
    ]
    assert not publishing.taken
    async with client.post("/v1/events", json=wrong, headers=bearer) as response:
        assert len((await response.json())["errors"]) == 7


async def test_of_many_errors_the_first_of_each_event_come_first(client: Client, bearer: dict[str, str]) -> None:
    batch = {"events": [{"data": 1}] * 60}
    async with client.post("/v1/events", json=batch, headers=bearer) as response:
        errors = (await response.json())["errors"]
    assert len(errors) == ERRORS_MAX + 1
    assert {f"events[{index}].id" for index in range(60)} < errors.keys()
    assert errors["body"] == ["has more errors; 100 are told"]


async def test_what_the_database_refuses_is_a_500_without_its_words(
    client: Client, publishing: Publishing, bearer: dict[str, str]
) -> None:
    publishing.outcomes["evt_1"] = Rejected(ParkReason.UNRECORDABLE, "the database refuses it: secret_table")
    async with client.post("/v1/events", json=envelope(), headers=bearer) as response:
        assert response.status == 500
        assert "secret_table" not in await response.text()


async def test_a_database_away_is_a_503(
    client: Client, publishing: Publishing, bearer: dict[str, str], troubles: Troubles
) -> None:
    publishing.error = UnavailableError("no route to db.internal")
    async with client.post("/v1/events", json=envelope(), headers=bearer) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        text = await response.text()
    assert json.loads(text)["code"] == "UNAVAILABLE"
    assert "db.internal" not in text
    assert troubles.heard == [publishing.error]


async def test_a_bug_is_a_500_that_says_nothing(
    client: Client, publishing: Publishing, bearer: dict[str, str], troubles: Troubles
) -> None:
    publishing.error = KeyError("inside")
    async with client.post("/v1/events", json=envelope(), headers=bearer) as response:
        assert response.status == 500
        text = await response.text()
    assert json.loads(text)["code"] == "INTERNAL_ERROR"
    assert "inside" not in text
    assert troubles.heard == [publishing.error]


async def test_a_body_that_stops_arriving_is_a_408(
    client: Client, bearer: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.validation.BODY_SECONDS_MAX", 0.01)
    reader, writer = await asyncio.open_connection(client.host, client.port)
    head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer['Authorization']}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
    assert b" 408 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


MANY = {
    "items": b'{"events":[' + b"1," * 2_000_000 + b"1]}",
    "keys": b"{" + b",".join(b'"k%d":1' % number for number in range(300_000)) + b"}",
}


@pytest.mark.parametrize("name", MANY)
async def test_what_a_large_body_consists_of_is_not_made_before_it_is_counted(name: str) -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        with suppress(ApiError):
            assert publishing_module._split(MANY[name]).fields is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 3 * len(MANY[name])


async def test_a_batch_is_parsed_in_as_many_turns_as_it_has_events() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    batch = publishing_module._split(as_json({"events": [envelope(f"evt_{number}") for number in range(50)]}))
    parsed = await publishing_module._parse(batch, "org_a", NOW, "application/json", idempotency_key=None)
    turning.cancel()
    assert len(parsed) == 50
    assert turns >= 49
