"""``/v1/deliveries``: lists with every filter, every attempt, and replays."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from service.adapters.postgres.engine import driver
from service.core.deliveries.delivery import DeliveryKey
from service.core.deliveries.request import Request
from service.core.deliveries.settlement import Accept, Bury, Retry
from service.core.reason import Reason
from tests.api.reads_rig import Reading, reading_on

pytestmark = pytest.mark.clock

URL = "https://a.example/hook"


@pytest.fixture
async def reading(database_url: str) -> AsyncIterator[Reading]:
    async with reading_on(database_url) as reading:
        await reading.administration.add_endpoint("org_1", URL, ["message.sent", "link.clicked"])
        yield reading


async def only(reading: Reading) -> dict[str, Any]:
    [delivery] = (await reading.get("/v1/deliveries"))["data"]
    found: dict[str, Any] = delivery
    return found


async def test_the_filters(reading: Reading) -> None:
    other = await reading.administration.add_endpoint("org_1", URL + "/2", ["message.sent"])
    await reading.event("evt_1")
    await reading.attempt(Accept())
    await reading.event("evt_2")
    await reading.attempt(Bury(Reason.ATTEMPTS_EXHAUSTED), status=503)
    await reading.event("evt_3", "link.clicked")
    await reading.attempt(Retry(3600, Reason.TIMEOUT), status=None)
    await reading.event("evt_4", "link.clicked")

    async def found(query: str) -> list[str]:
        return [each["event_id"] for each in (await reading.get(f"/v1/deliveries?{query}"))["data"]]

    assert await found("") == ["evt_4", "evt_3", "evt_2", "evt_2", "evt_1", "evt_1"]
    assert await found("state=delivered") == await found("status_code=200") == ["evt_1", "evt_1"]
    assert await found("state=dead") == await found("status_code=503") == ["evt_2", "evt_2"]
    assert await found("state=pending") == await found("event_type=link.clicked") == ["evt_4", "evt_3"]
    assert await found("reason=timeout") == ["evt_3"]
    assert await found(f"endpoint_id={other.id}") == ["evt_2", "evt_1"]
    assert await found(f"endpoint_id={other.id}&state=dead&reason=attempts_exhausted") == ["evt_2"]
    assert await found("event_id=evt_1") == ["evt_1", "evt_1"]
    assert (
        await found("event_id=evt_unknown")
        == await found("endpoint_id=ep_unknown")
        == await found("state=leased")
        == []
    )
    assert await found("since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z") == []
    assert (await reading.get("/v1/deliveries", by="org_2"))["data"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=lost", "state"),
        ("status_code=-1", "status_code"),
        (f"status_code={2**70}", "status_code"),
        ("reason=none", "reason"),
        ("endpoint_id=a%00", "endpoint_id"),
        ("event_id=a.b", "event_id"),
        ("cursor=WyJkbHYiXQ", "cursor"),
    ],
)
async def test_a_filter_that_cannot_be_names_the_field(reading: Reading, query: str, field: str) -> None:
    told = await reading.ask(f"/v1/deliveries?{query}")
    assert (told.status, list(told.json["errors"])) == (400, [field]), told.body


async def test_pages(reading: Reading) -> None:
    for number in range(5):
        await reading.event(f"evt_{number}")
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await reading.get(f"/v1/deliveries?limit=2&cursor={cursor}".removesuffix("&cursor="))
        seen += [each["event_id"] for each in page["data"]]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        await reading.attempt(Accept(), count=1)  # what was open is final on the next page
        await reading.event(f"evt_later_{len(seen)}")
    assert seen == [f"evt_{number}" for number in range(4, -1, -1)]


async def test_one_delivery_with_every_attempt(reading: Reading) -> None:
    event = await reading.event("evt_1")
    await reading.attempt(Retry(0, Reason.INTERNAL), status=None)
    await reading.attempt(Retry(0, Reason.HTTP_STATUS), status=503)
    await reading.attempt(Accept())
    listed = await only(reading)
    shown = await reading.get(f"/v1/deliveries/{listed['id']}")
    attempts = shown.pop("attempts")
    assert shown == listed
    assert (shown["state"], shown["last_status"], shown["attempts_made"]) == ("delivered", 200, 2)
    assert [(each["number"], each["outcome"], each["reason"], each["status"]) for each in attempts] == [
        (1, "failed", "internal", None),
        (2, "failed", "http_status", 503),
        (3, "accepted", None, 200),
    ]
    assert [each["is_counted"] for each in attempts] == [False, True, True]
    assert [each["reply"] for each in attempts] == ["", "said so", "said so"]
    assert attempts[2]["request"] == {
        "method": "POST",
        "url": URL,
        "headers": {
            "Content-Type": "application/json",
            "webhook-attempt": "2",
            "X-Event-Type": "message.sent",
            "X-Event-ID": "evt_1",
            "webhook-id": "evt_1",
        },
        "is_recorded": False,
        "body_bytes": len(event.body),
    }
    assert attempts[2]["reply_headers"] is None


async def test_an_attempt_shows_what_a_signature_problem_needs(reading: Reading) -> None:
    await reading.event("evt_1")
    recorded = {"webhook-signature": "v1,abc", "X-Team": None}
    await reading.attempt(Retry(0, Reason.HTTP_STATUS), status=401, request=Request(URL, {}, b"", 1, recorded=recorded))
    [attempt] = (await reading.get(f"/v1/deliveries/{(await only(reading))['id']}"))["attempts"]
    assert attempt["request"]["is_recorded"] is True
    at = datetime.fromisoformat(attempt["started_at"])
    assert attempt["request"]["headers"] == {
        "Content-Type": "application/json",
        "webhook-attempt": "1",
        "X-Event-Type": "message.sent",
        "X-Event-ID": "evt_1",
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": "v1,abc",
        "X-Team": "***",
    }
    assert attempt["reply_headers"] == {"Server": "nginx"}


async def test_a_replay_is_a_new_delivery(reading: Reading) -> None:
    await reading.event("evt_1")
    path = f"/v1/deliveries/{(await only(reading))['id']}/replay"
    early = await reading.ask(path, "POST")
    assert (early.status, early.json["code"]) == (409, "CONFLICT")
    assert early.json["error"] == "the delivery is still pending; it can be replayed once it has ended"
    await reading.attempt(Bury(Reason.ATTEMPTS_EXHAUSTED), status=503)
    told = await reading.ask(path, "POST")
    assert told.status == 202
    assert (told.json["state"], told.json["replay_number"], told.json["attempts_made"]) == ("pending", 1, 0)
    assert (told.json["event_id"], told.json["last_status"], told.json["ended_at"]) == ("evt_1", None, None)
    [replayed] = await reading.attempt(Accept())
    assert str(replayed.key) == told.json["id"]
    assert replayed.body  # the bytes of the first time
    shown = await reading.get(f"/v1/deliveries/{told.json['id']}")
    assert shown["attempts"][0]["request"]["headers"]["webhook-replay"] == told.json["id"]
    assert [each["state"] for each in (await reading.get("/v1/deliveries"))["data"]] == ["delivered", "dead"]
    explained = await reading.get("/v1/events/evt_1/explain")
    assert explained["summary"]["reached_everyone"] is True


async def test_replays_at_the_same_time_get_different_numbers(reading: Reading) -> None:
    await reading.event("evt_1")
    await reading.attempt(Accept())
    path = f"/v1/deliveries/{(await only(reading))['id']}/replay"
    told = await asyncio.gather(*(reading.ask(path, "POST") for _ in range(6)))
    assert sorted(each.json["replay_number"] for each in told) == [1, 2, 3, 4, 5, 6]


async def test_a_replay_and_a_removal_leave_nothing_waiting(reading: Reading) -> None:
    await reading.event("evt_1")
    await reading.attempt(Accept())
    first = await only(reading)
    path = f"/v1/deliveries/{first['id']}/replay"
    asked = [asyncio.create_task(reading.ask(path, "POST")) for _ in range(4)]
    await reading.administration.remove_endpoint("org_1", first["endpoint_id"])
    told = [await each for each in asked]
    assert {each.status for each in told} <= {202, 409}
    assert (await reading.get("/v1/deliveries?state=pending"))["data"] == []
    assert len((await reading.get("/v1/deliveries?state=cancelled"))["data"]) == sum(
        each.status == 202 for each in told
    )
    late = await reading.ask(path, "POST")
    assert (late.status, "subscription was removed" in late.json["error"]) == (409, True)


async def test_without_its_event_nothing_is_replayed(reading: Reading) -> None:
    await reading.event("evt_1")
    await reading.attempt(Accept())
    delivery = await only(reading)
    async with driver(reading.engine) as connection:
        await connection.execute("DELETE FROM events")
    told = await reading.ask(f"/v1/deliveries/{delivery['id']}/replay", "POST")
    assert (told.status, "no longer stored" in told.json["error"]) == (409, True)
    assert (await reading.get(f"/v1/deliveries/{delivery['id']}"))["attempts"][0]["request"]["body_bytes"] is None


async def test_another_organizations_delivery_is_not_found(reading: Reading) -> None:
    await reading.event("evt_1")
    await reading.attempt(Accept())
    known = (await only(reading))["id"]
    key = DeliveryKey.parse(known)
    assert key is not None
    unknown = [
        str(DeliveryKey(key.event_uid, 10**18 - 1)),
        str(DeliveryKey(key.event_uid, key.subscription_id, 999_999_999)),
    ]
    for delivery_id in (*unknown, "nonsense", "dlv_%00", "dlv_" + "f" * 32 + "_1"):
        assert (await reading.ask(f"/v1/deliveries/{delivery_id}")).status == 404
        assert (await reading.ask(f"/v1/deliveries/{delivery_id}/replay", "POST")).status == 404
    assert (await reading.ask(f"/v1/deliveries/{known}", by="org_2")).status == 404
    assert (await reading.ask(f"/v1/deliveries/{known}/replay", "POST", by="org_2")).status == 404
    assert (await reading.ask(f"/v1/deliveries/{known}/replay", "POST", by="reader")).status == 403
    assert len((await reading.get("/v1/deliveries"))["data"]) == 1


async def test_a_replay_that_names_itself_happens_once(reading: Reading) -> None:
    await reading.event("evt_1")
    await reading.attempt(Accept())
    path = f"/v1/deliveries/{(await only(reading))['id']}/replay"
    told = [await reading.ask(path, "POST", headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert told[0].json == told[1].json
    assert told[1].headers["Idempotency-Replayed"] == "true"
    assert len((await reading.get("/v1/deliveries"))["data"]) == 2
