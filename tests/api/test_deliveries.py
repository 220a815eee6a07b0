"""``/v1/deliveries``: lists with every filter, every attempt, and replays."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from service.adapters.postgres.deliveries import in_scope as reads_in_scope
from service.adapters.postgres.endpoints.gates.gates import shut_gate
from service.adapters.postgres.engine import driver
from service.adapters.postgres.events import reader as event_reads
from service.core.deliveries.delivery import DeliveryKey
from service.core.deliveries.request import Request
from service.core.deliveries.settlement import Accept, Bury, Retry, Settlement
from service.core.endpoints.gates.gate import GateKind
from service.core.reason import Reason
from tests.api.reads_rig import Reading, reading_on
from tests.fakes.events import EXAMPLE_DATA

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


async def test_several_values_ranges_messages_and_the_other_direction(reading: Reading) -> None:
    endings: list[tuple[Settlement, int]] = [
        (Accept(), 204),
        (Bury(Reason.ATTEMPTS_EXHAUSTED), 503),
        (Bury(Reason.AGE_EXCEEDED), 404),
    ]
    for number, (settlement, status) in enumerate(endings):
        event_type = "message.sent" if number else "link.clicked"
        data = EXAMPLE_DATA[event_type]
        about = {**data, "message": {**data.get("message", {}), "id": f"msg_{number}"}}
        await reading.event(f"evt_{number}", event_type, data=about)
        await reading.attempt(settlement, status=status)

    async def found(query: str) -> list[str]:
        return [each["event_id"] for each in (await reading.get(f"/v1/deliveries?{query}"))["data"]]

    assert await found("state=delivered,dead") == ["evt_2", "evt_1", "evt_0"]
    assert await found("state=pending,delivered") == ["evt_0"]
    assert await found("event_type=message.sent,link.clicked&order=asc") == ["evt_0", "evt_1", "evt_2"]
    assert await found("status_code=5xx") == ["evt_1"]
    assert await found("status_code=2xx,404") == ["evt_2", "evt_0"]
    assert await found("reason=age_exceeded,timeout") == ["evt_2"]
    assert await found("message_id=msg_1") == ["evt_1"]
    assert await found("message_id=msg_1&event_id=evt_2") == []
    assert await found("message_id=msg_unknown") == []
    [first, *_] = (await reading.get("/v1/deliveries"))["data"]
    assert await found(f"endpoint_id={first['endpoint_id']},ep_unknown&state=dead,dead") == ["evt_2", "evt_1"]
    assert [each["id"] for each in (await reading.get("/v1/events?message_id=msg_1"))["data"]] == ["evt_1"]
    both = await reading.get("/v1/events?event_type=link.clicked,message.sent&order=asc")
    assert [each["id"] for each in both["data"]] == ["evt_0", "evt_1", "evt_2"]
    for path in ("/v1/deliveries?state=dead&state=cancelled", "/v1/deliveries?status_code=5xxx", "/v1/events?order=up"):
        refused = await reading.ask(path)
        [field] = refused.json["errors"]
        assert (refused.status, field) == (400, path.partition("?")[2].partition("=")[0])


def in_scope(**ids: object) -> dict[str, Any]:
    return {**EXAMPLE_DATA["message.sent"], "scope": ids}


async def test_events_and_deliveries_are_found_by_what_they_belong_to(reading: Reading) -> None:
    await reading.event("evt_0", data=in_scope(brand_id="b_1", campaign_id="c_1", project_id="p_1"))
    await reading.attempt(Accept())
    await reading.event("evt_1", data=in_scope(brand_id="b_1", campaign_id="c_2", project_id=None))
    await reading.attempt(Bury(Reason.ATTEMPTS_EXHAUSTED), status=503)
    await reading.event("evt_2", "link.clicked", data=EXAMPLE_DATA["link.clicked"])

    async def found(query: str) -> tuple[list[str], list[str]]:
        events = (await reading.get(f"/v1/events?{query}"))["data"]
        deliveries = (await reading.get(f"/v1/deliveries?{query}"))["data"]
        return [each["id"] for each in events], [each["event_id"] for each in deliveries]

    assert await found("brand_id=b_1") == (["evt_1", "evt_0"],) * 2
    assert await found("brand_id=b_1&order=asc") == (["evt_0", "evt_1"],) * 2
    assert await found("campaign_id=c_2") == await found("campaign_id=c_2,c_3") == (["evt_1"],) * 2
    assert await found("campaign_id=c_1,c_2&event_type=message.sent") == (["evt_1", "evt_0"],) * 2
    assert await found("project_id=p_1") == (["evt_0"],) * 2
    assert await found("campaign_id=c_1&event_type=link.clicked") == await found("brand_id=b_9") == ([], [])
    [dead] = (await reading.get("/v1/deliveries?brand_id=b_1&state=dead&expand=event"))["data"]
    assert (dead["event_id"], dead["event"]["data"]["scope"]["campaign_id"]) == ("evt_1", "c_2")
    assert (await reading.get("/v1/events?brand_id=b_1", by="org_2"))["data"] == []
    assert (await reading.get("/v1/deliveries?brand_id=b_1", by="org_2"))["data"] == []


async def test_a_page_that_took_long_to_fill_leads_on_and_back(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads_in_scope, "EVENTS_MAX", 3)  # of which one was on the page before
    for number in range(7):
        await reading.event(f"evt_{number}", data=in_scope(campaign_id="c_1"))
        if number in {1, 6}:
            await reading.attempt(Accept())
        else:
            await reading.attempt(Retry(3600, Reason.TIMEOUT), status=None)
    path = "/v1/deliveries?campaign_id=c_1&state=delivered&limit=5"
    pages = [await reading.get(path)]
    while pages[-1]["has_more"]:
        pages.append(await reading.get(f"{path}&cursor={pages[-1]['next_cursor']}"))
    assert [[each["event_id"] for each in page["data"]] for page in pages] == [["evt_6"], [], ["evt_1"], []]
    back = []
    page = pages[-1]
    while page["prev_cursor"] is not None:
        page = await reading.get(f"{path}&cursor={page['prev_cursor']}")
        back += [each["event_id"] for each in page["data"]]
        assert page["has_more"]
    assert list(dict.fromkeys(back)) == ["evt_1", "evt_6"]  # beyond the first row comes the first page again


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("brand_id=b_1&project_id=p_1", ["brand_id", "project_id"]),
        ("campaign_id=c_1&message_id=msg_1", ["campaign_id", "message_id"]),
        ("campaign_id=c_1&event_id=evt_1", ["campaign_id", "event_id"]),
        ("campaign_id=", ["campaign_id"]),
    ],
)
async def test_one_scope_is_asked_for_at_a_time(reading: Reading, query: str, fields: list[str]) -> None:
    told = await reading.ask(f"/v1/deliveries?{query}")
    assert (told.status, sorted(told.json["errors"])) == (400, fields), told.body


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("path", ["/v1/deliveries", "/v1/events", "/v1/endpoints"])
async def test_pages_lead_on_and_back(reading: Reading, path: str, order: str) -> None:
    for number in range(7):
        if path == "/v1/endpoints":
            await reading.administration.add_endpoint("org_1", f"{URL}/{number}", ["link.clicked"])
        else:
            await reading.event(f"evt_{number}")
    whole = await reading.get(f"{path}?order={order}")
    assert (whole["has_more"], whole["next_cursor"], whole["prev_cursor"]) == (False, None, None)
    every = [each["id"] for each in whole["data"]]
    pages, cursor = [], ""
    while cursor is not None:
        page = await reading.get(f"{path}?limit=3&order={order}&cursor={cursor}".removesuffix("&cursor="))
        pages.append(page)
        cursor = page["next_cursor"]
    assert [each["id"] for page in pages for each in page["data"]] == every
    back = pages[-1]
    for page in reversed(pages[:-1]):
        back = await reading.get(f"{path}?limit=3&order={order}&cursor={back['prev_cursor']}")
        assert back == page
    assert back["prev_cursor"] is None


async def test_a_list_can_bring_the_events_along(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [await reading.event(f"evt_{number}") for number in range(3)]
    whole = await reading.get("/v1/deliveries?expand=event")
    shown = [await reading.get(f"/v1/events/evt_{number}") for number in (2, 1, 0)]
    assert [each["event"] for each in whole["data"]] == shown
    assert "event" not in (await reading.get("/v1/deliveries"))["data"][0]
    one = await reading.get(f"/v1/deliveries/{whole['data'][0]['id']}?expand=event")
    assert (one["event"], one["attempts"]) == (shown[0], [])
    monkeypatch.setattr(event_reads, "PAGE_BYTES_MAX", len(events[0].body) + 1)
    short = await reading.get("/v1/deliveries?expand=event")
    assert ([each["event"] for each in short["data"]], short["has_more"]) == (shown[:2], True)
    rest = await reading.get(f"/v1/deliveries?expand=event&cursor={short['next_cursor']}")
    assert ([each["event"] for each in rest["data"]], rest["has_more"]) == (shown[2:], False)
    async with driver(reading.engine) as connection:
        await connection.execute("DELETE FROM events")
    assert [each["event"] for each in (await reading.get("/v1/deliveries?expand=event"))["data"]] == [None] * 3


async def test_an_event_counts_as_often_as_it_is_brought_along(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        await reading.administration.add_endpoint("org_1", f"{URL}/{number}", ["message.sent"])
    event = await reading.event("evt_1")
    assert len((await reading.get("/v1/deliveries"))["data"]) == 3
    monkeypatch.setattr(event_reads, "PAGE_BYTES_MAX", len(event.body) + 1)
    first = await reading.get("/v1/deliveries?expand=event")
    assert ([each["event"]["id"] for each in first["data"]], first["has_more"]) == (["evt_1"] * 2, True)
    rest = await reading.get(f"/v1/deliveries?expand=event&cursor={first['next_cursor']}")
    assert ([each["event"]["id"] for each in rest["data"]], rest["has_more"]) == (["evt_1"], False)


async def test_an_endpoint_that_is_gone_is_listed_on_request(reading: Reading) -> None:
    query = f"url={URL}"
    [there] = (await reading.get(f"/v1/endpoints?{query}"))["data"]
    async with driver(reading.engine) as connection, connection.transaction():  # as the answer 410 does
        await connection.execute("UPDATE subscriptions SET removed_at = now(), removed_because = 'gone'")
        await connection.execute("UPDATE endpoints SET removed_at = now()")
    assert (await reading.get(f"/v1/endpoints?{query}"))["data"] == []
    assert (await reading.get("/v1/endpoints?state=active,paused,disabled"))["data"] == []
    [gone] = (await reading.get(f"/v1/endpoints?{query}&state=gone,active"))["data"]
    assert (gone["id"], gone["state"]) == (there["id"], "gone")


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


async def test_a_delivery_says_what_holds_it_back_and_how_many_attempts_it_has(reading: Reading) -> None:
    await reading.event("evt_1")
    goes_by_itself = await only(reading)
    assert (goes_by_itself["held_by"], goes_by_itself["attempts_max"]) == (None, 12)
    async with driver(reading.engine) as connection:
        await connection.execute("UPDATE endpoints SET retry = '[4, 16]'")
        await shut_gate(connection, goes_by_itself["endpoint_id"], GateKind.PAUSED, "while they move house")
    held = await only(reading)
    assert held["attempts_max"] == 3
    assert {name: held["held_by"][name] for name in ("kind", "reason", "until")} == {
        "kind": "paused",
        "reason": "while they move house",
        "until": None,
    }
    shown = await reading.get(f"/v1/deliveries/{held['id']}")
    assert (shown["held_by"], shown["attempts_max"]) == (held["held_by"], 3)
    async with driver(reading.engine) as connection:
        await connection.execute("DELETE FROM gates")
    await reading.attempt(Accept())
    ended = await only(reading)
    assert (ended["held_by"], ended["attempts_max"]) == (None, None)


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
