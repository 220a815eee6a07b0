"""``GET /v1/events`` and what became of them: explain and messages."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from service.adapters.postgres.engine import driver
from service.adapters.postgres.events import reader as event_reads
from service.adapters.postgres.events.story import StoryReader
from service.core.deliveries.settlement import Accept
from service.core.deliveries.story import SURVEY_MAX, Section, StoryPage
from service.core.walk import Walk
from tests.api.reads_rig import Reading, reading_on
from tests.fakes.events import EXAMPLE_DATA, body_of, envelope

pytestmark = pytest.mark.clock

URL = "https://a.example/hook"
HUGE = '{"message":%s,"big":9007199254740993,"exact":1.0,"far":1e400}'


@pytest.fixture
async def reading(database_url: str) -> AsyncIterator[Reading]:
    async with reading_on(database_url) as reading:
        yield reading


# --------------------------------------------------------------------------- events


async def test_events_come_newest_first_as_they_are_delivered(reading: Reading) -> None:
    events = [await reading.event(f"evt_{n}", "link.clicked" if n == 1 else "message.sent") for n in range(3)]
    page = await reading.get("/v1/events")
    assert await reading.get("/v1/events/evt_1") == page["data"][1]
    assert (page["has_more"], page["next_cursor"]) == (False, None)
    assert [each["id"] for each in page["data"]] == ["evt_2", "evt_1", "evt_0"]
    for shown, event in zip(page["data"], reversed(events), strict=True):
        received_at = shown.pop("received_at")
        assert shown == json.loads(event.body)
        assert abs(datetime.fromisoformat(received_at) - datetime.now(UTC)) < timedelta(minutes=5)
    assert [e["id"] for e in (await reading.get("/v1/events?event_type=link.clicked"))["data"]] == ["evt_1"]


async def test_numbers_keep_their_text_and_received_at_is_ours(reading: Reading) -> None:
    body = json.dumps(envelope(received_at="never", note=2)).encode()
    data = HUGE % json.dumps(EXAMPLE_DATA["message.sent"]["message"])
    body = body[: body.index(b'"data":') + 7] + data.encode() + b',"received_at":"never","note":2}'
    await reading.take_in(body)
    for path in ("/v1/events", "/v1/events/evt_1"):
        told = await reading.ask(path)
        assert data.encode() in told.body
        assert told.headers["Content-Type"] == "application/json; charset=utf-8"
        assert told.body.count(b'"received_at"') == 1
        assert b"never" not in told.body


async def test_pages_and_times(reading: Reading) -> None:
    for number in range(7):
        await reading.event(f"evt_{number}")
    seen, cursor, shown = [], "", []
    while True:
        page = await reading.get(f"/v1/events?limit=3{cursor}")
        seen += [each["id"] for each in page["data"]]
        shown += page["data"]
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [f"evt_{number}" for number in range(6, -1, -1)]
    middle = shown[3]["received_at"]
    since = {each["id"] for each in (await reading.get(f"/v1/events?since={quote(middle)}"))["data"]}
    until = {each["id"] for each in (await reading.get(f"/v1/events?until={quote(middle)}"))["data"]}
    assert since == {each["id"] for each in shown if each["received_at"] >= middle}
    assert since.isdisjoint(until)
    assert len(since | until) == 7


async def test_a_page_of_large_events_ends_early(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        await reading.event(f"evt_{number}")
    monkeypatch.setattr(event_reads, "PAGE_BYTES_MAX", 1)
    page = await reading.get("/v1/events")
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (["evt_2"], True)
    page = await reading.get(f"/v1/events?cursor={page['next_cursor']}")
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (["evt_1"], True)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        (f"limit={2**70}", "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=WyJ6eiJd", "cursor"),
        ("cursor=WzFd", "cursor"),
        ("since=yesterday", "since"),
        ("since=2026-11-20T00:00:00", "since"),
        ("until=1700000000", "until"),
        ("until=9999-99-99", "until"),
        ("event_type=Nonsense", "event_type"),
        ("event_type=a.b%00", "event_type"),
        ("kind=x", "kind"),
        ("limit=1&limit=2", "limit"),
    ],
)
async def test_a_query_that_is_not_valid_names_the_field(reading: Reading, query: str, field: str) -> None:
    for path in ("/v1/events", "/v1/deliveries"):
        told = await reading.ask(f"{path}?{query}")
        assert (told.status, list(told.json["errors"])) == (400, [field]), told.body


@pytest.mark.parametrize(
    "at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59", "1969-01-01T00:00:00Z"]
)
async def test_times_at_the_edge(reading: Reading, at: str) -> None:
    await reading.event("evt_1")
    for path in ("/v1/events", "/v1/deliveries"):
        before = (await reading.get(f"{path}?until={quote(at)}"))["data"]
        after = (await reading.get(f"{path}?since={quote(at)}"))["data"]
        assert len(before) + len(after) == (1 if path == "/v1/events" else 0)


@pytest.mark.parametrize(
    "path",
    ["/v1/events/evt_1", "/v1/events/evt_1/explain", "/v1/messages/msg_1", "/v1/events/a%00b", "/v1/messages/%00"],
)
async def test_what_is_another_organizations_or_unknown_is_not_found(reading: Reading, path: str) -> None:
    await reading.event("evt_1")
    told = await reading.ask(path, by="org_2")
    assert (told.status, told.json["code"]) == (404, "NOT_FOUND")
    assert (await reading.get("/v1/events", by="org_2"))["data"] == []


# --------------------------------------------------------------------------- explain


async def test_explain_tells_of_every_subscription(reading: Reading) -> None:
    add = reading.administration.add_endpoint
    await add("org_1", URL, ["message.sent", "message.*", "link.clicked"])
    paused = await add("org_1", URL + "/paused", ["message.sent"])
    filtered = await add("org_1", URL + "/filtered", ["*"])
    removed = await add("org_1", URL + "/removed", ["message.sent"])
    await add("org_2", URL, ["message.sent"])
    limited = await add("org_1", URL + "/limited", ["message.sent"])
    await reading.administration.pause_endpoint("org_1", paused.id, True)  # noqa: FBT003
    await reading.administration.limit_endpoint(limited.id, per_second=0.001)
    async with driver(reading.engine) as connection:
        await connection.execute(
            """UPDATE endpoints SET filter = '{"scope": {"brand_id": ["b"]}}' WHERE id = $1""", filtered.id
        )
        await connection.execute("UPDATE endpoint_limits SET opens_at = '2126-01-01'")
        await connection.execute("UPDATE organizations SET directory_version = directory_version + 1")
    await reading.administration.remove_endpoint("org_1", removed.id)
    await reading.event("evt_1")
    await reading.attempt(Accept())
    await add("org_1", URL + "/late", ["message.sent"])
    told = await reading.get("/v1/events/evt_1/explain?removed=true")
    found = {(each["url"].removeprefix(URL), each["event_type"]): each for each in told["data"]}
    assert [each["finding"] for each in told["data"]] == [
        *("gated", "gated", "delivered", "shadowed", "filtered_out", "subscribed_later", "other_event_type"),
        "removed_before",
    ]
    assert {key: each["finding"] for key, each in found.items()} == {
        ("", "message.sent"): "delivered",
        ("", "message.*"): "shadowed",
        ("", "link.clicked"): "other_event_type",
        ("/paused", "message.sent"): "gated",
        ("/limited", "message.sent"): "gated",
        ("/filtered", "*"): "filtered_out",
        ("/removed", "message.sent"): "removed_before",
        ("/late", "message.sent"): "subscribed_later",
    }
    (shut,) = found["/paused", "message.sent"]["gates"]
    assert (shut["kind"], shut["reason"], shut["until"]) == ("paused", "the endpoint is paused", None)
    (reached,) = found["/limited", "message.sent"]["gates"]
    assert (reached["kind"], reached["until"]) == ("rate_limit", "2126-01-01T00:00:00.000000Z")
    assert found["/filtered", "*"]["filter_clause"]["clause"] == "scope.brand_id"
    assert found["", "message.*"]["shadowed_by"] == found["", "message.sent"]["subscription_id"]
    assert found["", "message.sent"]["deliveries"][0]["state"] == "delivered"
    assert told["received_at"] == (await reading.get("/v1/events/evt_1"))["received_at"]
    assert told["summary"] == {
        "reached_everyone": False,
        "sentence": "It reached 1 of 3 subscriptions: 2 gated.",
        "subscription_count": 7,
        "removed_count": 1,
        "findings": {each["finding"]: 1 for each in told["data"][:-1]} | {"gated": 2},
        "is_complete": True,
    }
    assert (await reading.get("/v1/events/evt_1/explain"))["data"] == told["data"][:-1], "removed ones on request"
    some = await reading.get("/v1/events/evt_1/explain?finding=filtered_out,gated,removed_before&limit=2")
    assert some["summary"] == told["summary"]
    assert [each["finding"] for each in some["data"]] == ["gated", "gated"]
    rest = await reading.get(
        f"/v1/events/evt_1/explain?finding=filtered_out,gated,removed_before&limit=2&cursor={some['next_cursor']}"
    )
    assert [each["finding"] for each in rest["data"]] == ["filtered_out", "removed_before"]
    assert (rest["has_more"], rest["next_cursor"]) == (False, None)


async def test_explain_reads_no_more_than_its_page_of_a_large_organization(reading: Reading) -> None:
    one = await reading.administration.add_endpoint("org_1", URL, ["message.sent"])
    await reading.event("evt_1")
    async with driver(reading.engine) as connection:
        await connection.execute(
            """INSERT INTO endpoints (id, organization_id, url)
               SELECT 'ep_many_' || n, 'org_1', 'https://b.example/' || n FROM generate_series(1, 1200) n"""
        )
        await connection.execute(
            """INSERT INTO subscriptions (organization_id, endpoint_id, event_type, target_url)
               SELECT 'org_1', 'ep_many_' || n, 'message.sent', 'https://b.example/' || n
                 FROM generate_series(1, 1200) n"""
        )
    page = StoryPage(frozenset(Section), Walk(3, is_descending=False))
    story = await StoryReader(reading.engine).read("org_1", "evt_1", page)
    assert story is not None
    assert len(story.subscriptions) <= SURVEY_MAX + 3
    told = await reading.get("/v1/events/evt_1/explain")
    assert told["summary"] == {
        "sentence": "It reached 0 of 1 subscription: 1 pending. 700 more that ask for events of this type were not "
        "looked at.",
        "reached_everyone": False,
        "subscription_count": 1201,
        "removed_count": 0,
        "findings": {"pending": 1, "subscribed_later": 500},
        "is_complete": False,
    }
    seen, cursor = [], ""
    while cursor is not None:
        page_read = await reading.get(f"/v1/events/evt_1/explain?limit=200&cursor={cursor}".removesuffix("&cursor="))
        seen += [each["endpoint_id"] for each in page_read["data"]]
        cursor = page_read["next_cursor"]
    assert (seen[0], len(seen), len(set(seen))) == (one.id, 1201, 1201)
    none = await reading.get("/v1/events/evt_1/explain?finding=filtered_out")
    assert (none["data"], none["has_more"]) == ([], True), "500 were looked at"


async def test_explain_is_paged_and_its_summary_is_about_all(reading: Reading) -> None:
    for number in range(5):
        await reading.administration.add_endpoint("org_1", f"{URL}/{number}", ["message.sent"])
    await reading.event("evt_1")
    await reading.attempt(Accept())
    seen, cursor = [], ""
    while cursor is not None:
        page = await reading.get(f"/v1/events/evt_1/explain?limit=2&cursor={cursor}".removesuffix("&cursor="))
        assert page["summary"]["sentence"] == "It reached every matching subscription (5)."
        seen += [each["subscription_id"] for each in page["data"]]
        cursor = page["next_cursor"]
    assert seen == sorted(seen)
    assert len(seen) == 5
    assert (await reading.ask("/v1/events/evt_1/explain?cursor=WyJhIl0")).status == 400
    assert (await reading.ask("/v1/events/evt_1/explain?cursor=Wzk5LDFd")).status == 400, "there is no section 99"
    wrong = await reading.ask("/v1/events/evt_1/explain?finding=dead,lost")
    assert (wrong.status, list(wrong.json["errors"])) == (400, ["finding"])


async def test_explain_says_that_a_test_goes_to_one_endpoint(reading: Reading) -> None:
    chosen = await reading.administration.add_endpoint("org_1", URL, ["message.sent"])
    await reading.administration.add_endpoint("org_1", URL + "/other", ["message.sent"])
    event = await reading.event("evt_0")
    tested = type(event)(
        "evt_1", event.type, event.occurred_at, "org_1", event.body.replace(b"evt_0", b"evt_1"), is_test=True
    )
    assert await reading.intake.send_test(tested, chosen.id) is not None
    told = await reading.get("/v1/events/evt_1/explain")
    assert told["test"] is True
    assert [each["finding"] for each in told["data"]] == ["pending", "test_for_another"]


# --------------------------------------------------------------------------- messages


async def test_a_messages_status_is_folded_from_its_events(reading: Reading) -> None:
    await reading.event("evt_1", "link.clicked")
    await reading.event("evt_2", "message.delivered")
    await reading.event("evt_3", "message.sent")
    status = await reading.get("/v1/messages/msg_1")
    assert status["status"] == "delivered"
    assert status["sent_at"] == status["delivered_at"] == "2026-11-20T17:59:59.123456Z"
    assert status["clicks"] == {"count": 1, "last_clicked_at": "2026-11-20T17:59:59.123456Z", "bot_count": 0}
    assert sorted(status["events"]) == ["evt_1", "evt_2", "evt_3"]
    assert (status["is_complete"], status["error"], status["read_at"]) == (True, None, None)


def _named(message_id: str, external_id: object) -> dict[str, object]:
    data = EXAMPLE_DATA["message.sent"]
    return {**data, "message": {**data["message"], "id": message_id, "external_id": external_id}}


async def test_a_message_is_found_by_its_senders_id_too(reading: Reading) -> None:
    await reading.event("evt_1", data=_named("msg_1", "theirs"))
    await reading.event("evt_2", "message.delivered", data=EXAMPLE_DATA["message.delivered"])  # names no external id
    by_theirs, by_ours = [await reading.get(f"/v1/messages/{each}") for each in ("theirs", "msg_1")]
    assert by_theirs == by_ours
    assert (by_ours["message_id"], by_ours["external_id"], by_ours["same_external_id"]) == ("msg_1", "theirs", [])
    assert (by_ours["status"], by_ours["events"]) == ("delivered", ["evt_1", "evt_2"])
    assert (await reading.ask("/v1/messages/their")).status == 404


async def test_of_messages_with_one_external_id_the_newest_is_meant(reading: Reading) -> None:
    for number in range(13):
        await reading.event(f"evt_{number}", data=_named(f"msg_{number}", "theirs"))
    await reading.event("evt_late", "message.delivered", data={**_named("msg_0", "theirs"), **_delivered("msg_0")})
    found = await reading.get("/v1/messages/theirs")
    assert (found["message_id"], found["status"]) == ("msg_12", "sent")
    assert found["same_external_id"] == [f"msg_{number}" for number in range(11, 2, -1)]


def _delivered(message_id: str) -> dict[str, object]:
    message = EXAMPLE_DATA["message.delivered"]["message"]
    return {"message": {**message, "id": message_id, "external_id": "theirs"}}


async def test_a_messages_own_id_comes_before_what_others_call_theirs(reading: Reading) -> None:
    await reading.event("evt_1", data=_named("msg_1", "theirs"))
    await reading.event("evt_2", data=_named("msg_2", "msg_1"))
    await reading.event("evt_3", data=_named("msg_3", "x" * 257))
    assert (await reading.get("/v1/messages/msg_1"))["message_id"] == "msg_1"
    assert (await reading.ask("/v1/messages/" + "x" * 257)).status == 404


async def test_another_organizations_external_id_finds_nothing(reading: Reading) -> None:
    await reading.take_in(body_of(id="evt_1", organization_id="org_2", data=_named("msg_1", "theirs")))
    assert (await reading.ask("/v1/messages/theirs")).status == 404


async def test_a_reaction_is_told_with_six_digits_whether_or_not_it_has_a_time(reading: Reading) -> None:
    taps = [{"type": "up", "at": at, "from_urn": "12065551212"} for at in ("2026-11-20T18:25:35Z", None)]
    await reading.event("evt_1", data={**_named("msg_1", None), "message": {**_message("msg_1"), "reactions": taps}})
    found = (await reading.get("/v1/messages/msg_1"))["reactions"]
    assert [each["at"] for each in found] == ["2026-11-20T17:59:59.000000Z", "2026-11-20T18:25:35.000000Z"]
    assert {each["from_urn"] for each in found} == {"ext:12065551212"}


def _message(message_id: str) -> dict[str, object]:
    return {**EXAMPLE_DATA["message.sent"]["message"], "id": message_id}


async def test_a_failed_message_says_why(reading: Reading) -> None:
    data = {**EXAMPLE_DATA["message.failed"], "error": {"code": "x", "message": "unreachable", "retryable": False}}
    await reading.event("evt_1", "message.failed", data=data)
    status = await reading.get("/v1/messages/msg_1")
    assert status["status"] == "failed"
    assert status["error"] == {"code": "x", "message": "unreachable", "carrier_code": None, "retryable": False}


async def test_what_a_page_cannot_hold_is_said(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        await reading.event(f"evt_{number}")
    monkeypatch.setattr(event_reads, "MESSAGE_EVENTS_MAX", 2)
    status = await reading.get("/v1/messages/msg_1")
    assert (status["events"], status["is_complete"]) == (["evt_0", "evt_1"], False)


async def test_what_answers_a_message_is_told_with_it(reading: Reading) -> None:
    data = EXAMPLE_DATA["message.replied"]
    message = {**data["message"], "id": "msg_2", "text": "yes"}
    await reading.event("evt_1", "message.sent")
    await reading.event(
        "evt_2", "message.replied", data={**data, "message": message, "reply_to": {"message_id": "msg_1"}}
    )
    status = await reading.get("/v1/messages/msg_1")
    assert [(each["message_id"], each["text"]) for each in status["replies"]] == [("msg_2", "yes")]
    assert sorted(status["events"]) == ["evt_1", "evt_2"]
    assert (await reading.get("/v1/messages/msg_2"))["events"] == ["evt_2"]
