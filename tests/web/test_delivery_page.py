"""A delivery's page: its schedule as one strip, each attempt with what was sent, signed and answered, and how it went."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from markupsafe import Markup

from service.core.deliveries.request import Reply
from service.core.endpoints.gates.breaker import BreakerLimits
from service.core.events.sample import sample_event
from service.web.pages.deliveries.exchange import FIRST_LINE_CHARACTERS_MAX, exchange_of
from service.web.pages.deliveries.strip import PHONE_LABELS_MAX, strip_of
from tests.api.test_stats import answer, publish
from tests.api.whole_rig import OWNER, Whole
from tests.web.test_deliveries import TIMEOUT, delivery_page, endpoint_of
from tests.web.visitor import Seen, signed_in

AT = datetime(2026, 11, 21, 14, 2, 11, tzinfo=UTC)
TWELVE = {"attempts_max": 12, "delays_seconds": [5.0, 15, 45, 135, 405, 1215, 3645, 10_935, 32_805, 86_400, 86_400]}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def delivery_with(*outcomes: str, next_after: float | None = None) -> dict[str, Any]:
    attempts = [
        {"outcome": each, "started_at": (AT + timedelta(seconds=number)).isoformat(), "is_counted": each != "ours"}
        for number, each in enumerate(outcomes)
    ]
    due = AT + timedelta(seconds=next_after) if next_after is not None else None
    return {"attempts": attempts, "next_attempt_at": due and due.isoformat(), "held_by": None}


def test_a_strip_has_the_attempts_made_the_next_and_those_that_may_follow() -> None:
    strip = strip_of(delivery_with("failed", "ours", "failed", next_after=60), TWELVE, has_ended=False)
    assert [each.look for each in strip.segments] == ["bad"] * 2 + ["next"] + ["later"] * 9, "ours counts for nothing"
    assert [each.told for each in strip.segments[3:]] == [
        *("+45 s", "+2 min", "+7 min", "+20 min", "+1 h", "+3 h", "+9 h", "+24 h", "+24 h")
    ]
    assert strip.segments[2].at == AT + timedelta(seconds=60)
    assert strip.sentence == "2 attempts failed; the next is due at 14:03:11 UTC; 9 more may follow."
    assert strip.given_up_at == AT + timedelta(seconds=60 + sum(TWELVE["delays_seconds"][2:]))  # type: ignore[index]


def test_a_strip_of_what_has_ended_has_the_attempts_made() -> None:
    strip = strip_of(delivery_with("failed", "accepted"), TWELVE, has_ended=True)
    assert [each.look for each in strip.segments] == ["bad", "ok"]
    assert (strip.sentence, strip.given_up_at) == ("1 attempt failed; the last one succeeded.", None)
    assert strip_of(delivery_with(), TWELVE, has_ended=True).segments == [], "it was cancelled before its first attempt"


@pytest.mark.parametrize(("state", "told"), [("leased", "being sent"), ("pending", "in line")])
def test_a_next_attempt_without_a_time_says_how_it_stands(state: str, told: str) -> None:
    strip = strip_of(delivery_with("failed") | {"state": state}, TWELVE, has_ended=False)
    assert strip.segments[1].told == told
    assert f"the next is {told}" in strip.sentence


async def test_what_was_cancelled_before_its_first_attempt_has_a_page(whole: Whole) -> None:
    endpoint = await endpoint_of(whole)
    await publish(whole, "evt_1")
    await whole.ask("DELETE", f"/v1/endpoints/{endpoint}")
    shown = await delivery_page(whole, await signed_in(whole))
    assert (shown.status, shown.title) == (200, "link.clicked was cancelled")


@pytest.mark.parametrize("until", [AT + timedelta(minutes=46), None])
def test_what_is_held_goes_when_its_gate_opens(until: datetime | None) -> None:
    gate = {"kind": "breaker", "until": until and until.isoformat()}
    strip = strip_of(delivery_with("failed", next_after=5) | {"held_by": gate}, TWELVE, has_ended=False)
    assert strip.segments[1].at == until
    assert ("14:48:11" if until else "the next is held back") in strip.sentence
    assert (strip.given_up_at is None) == (until is None)


@pytest.mark.parametrize("made", [0, 4, 11])
def test_a_phone_has_few_labels_and_always_that_of_the_next(made: int) -> None:
    strip = strip_of(delivery_with(*["failed"] * made, next_after=5), TWELVE, has_ended=False)
    assert strip.segments[made].is_told_on_phones
    assert sum(each.is_told_on_phones for each in strip.segments) <= PHONE_LABELS_MAX
    assert all(each.is_told for each in strip.segments)


@pytest.mark.parametrize("made", [0, 5, 20])
def test_where_there_are_many_attempts_every_second_has_a_label_and_a_phone_has_some_of_those(made: int) -> None:
    schedule = {"attempts_max": 21, "delays_seconds": [3600.0] * 20}
    segments = strip_of(delivery_with(*["failed"] * made, next_after=5), schedule, has_ended=False).segments
    assert sum(each.is_told for each in segments) in {10, 11}
    assert 3 <= sum(each.is_told_on_phones for each in segments) <= PHONE_LABELS_MAX
    assert segments[made].is_told_on_phones
    assert not [each for each in segments if each.is_told_on_phones and not each.is_told]


async def test_whoever_only_reads_sees_the_schedule_and_when_it_would_be_given_up(whole: Whole) -> None:
    await endpoint_of(whole, retry="politicalcomms")
    await publish(whole, "evt_1")
    await answer(whole, TIMEOUT)
    viewer = await signed_in(whole, key=(await whole.made("POST", "/v1/keys", {"scopes": ["read"]}))["key"])
    seen = await delivery_page(whole, viewer)
    assert seen.title == "link.clicked waits for attempt 2 of 4"
    assert re.search(
        r'role="img" aria-label="1 attempt failed; the next is due at [^"]*; 2 more may follow."', seen.text
    )
    assert "One attempt failed, with timeout: no answer within 15 s." in seen.words
    assert "+16 s+1 min" in seen.words
    assert "4 attempts in 1 min 24 s: after 4 s, 16 s, 1 min 4 s." in seen.words
    assert re.search(r"Retriespoliticalcomms.*Given upabout .*, if every attempt fails", seen.words)


async def test_an_attempt_has_its_request_with_the_body_and_the_reply_with_its_phrase(whole: Whole) -> None:
    await endpoint_of(whole, "https://a.example/hook?token=t1")
    await publish(whole, "evt_1")
    await answer(whole, Reply(503, 20, b"\n  <h1>upstream</h1>\nmore"), breaker=BreakerLimits(9, 600.0))
    seen = await delivery_page(whole, await signed_in(whole))
    assert "503 Service Unavailable" in seen.words
    assert block(seen, "request-1").startswith("POST /hook?*** HTTP/1.1\nhost: a.example\n")
    assert json.loads(block(seen, "request-1").partition("\n\n")[2])["id"] == "evt_1"
    assert block(seen, "reply-1").startswith("HTTP/1.1 503 Service Unavailable\n")
    assert block(seen, "reply-1").endswith("<h1>upstream</h1>\nmore")
    assert '<code class="first-line">&lt;h1&gt;upstream&lt;/h1&gt;</code>' in seen.text
    assert "The receiver answered" not in seen.words


async def test_of_a_long_body_the_beginning_is_shown(whole: Whole) -> None:
    await endpoint_of(whole)
    event = json.loads(sample_event("message.sent", OWNER, event_id="evt_large", number=1, now=datetime.now(UTC)))
    event["data"]["note"] = "x" * 200_000
    await whole.made("POST", "/v1/events", event)
    await answer(whole, Reply(204, 20))
    seen = await delivery_page(whole, await signed_in(whole))
    assert len(seen.text) < 60_000
    assert 'href="/dashboard/o/org_mine/events/evt_large">All of it</a>' in seen.text


def block(seen: Seen, name: str) -> str:
    """The text of a block of code."""
    found = re.search(rf'<code id="{name}">(.*?)</code></pre>', seen.text, re.DOTALL)
    assert found is not None, seen.text
    return Markup(re.sub(r"</?(?:b|i|var)>", "", found[1])).unescape()  # noqa: S704 - read, never shown


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"status": 204, "outcome": "accepted"}, "204 No Content"),
        ({"status": 599}, "599"),
        ({"reason": "timeout", "duration_ms": 2_500}, "no answer within 2.5 s"),
        ({"reason": "timeout", "duration_ms": 40}, "no answer within 40 ms"),
        ({"reason": "dns", "detail": ""}, "the host name could not be resolved"),
        ({"reason": "tls", "detail": HOSTILE}, HOSTILE),
    ],
)
def test_how_an_attempt_went_is_said_in_words(fields: dict[str, Any], says: str) -> None:
    assert exchange_of(attempt(**fields), None).answer == says


def test_what_a_receiver_says_is_cut_and_stays_text() -> None:
    told = exchange_of(attempt(status=500, reply=f"{HOSTILE}{'y' * 500}", reply_headers={HOSTILE: HOSTILE}), None)
    assert len(told.first_line) == FIRST_LINE_CHARACTERS_MAX
    assert told.reply is not None
    assert "<script" not in told.reply
    assert "<img" not in told.reply
    assert told.reply.count("&lt;script&gt;") == 3


def attempt(**fields: Any) -> dict[str, Any]:
    request = {"url": "https://a.example", "headers": {}, "is_recorded": False, "body_bytes": 2}
    usual = {
        "number": 1,
        "outcome": "failed",
        "reason": None,
        "status": None,
        "duration_ms": 9,
        "detail": "",
        "reply": "",
    }
    return {"request": request, "reply_headers": None, **usual, **fields}


async def test_a_message_is_told_step_by_step_on_the_page_of_what_answers_it(whole: Whole) -> None:
    now = datetime.now(UTC)
    for name, event_id in (("message.sent", "evt_sent"), ("message.replied", "evt_reply")):
        event = json.loads(sample_event(name, OWNER, event_id=event_id, number=7, now=now))
        await whole.made("POST", "/v1/events", event)
    seen = await (await signed_in(whole)).get(f"/dashboard/o/{OWNER}/events/evt_reply")
    words = " ".join(seen.words.partition("Its message")[2].split())
    assert re.search(r"^Answers msg_00000007.*Sent.*Replied this event.*Its 2 events", words), words
    assert block(seen, "delivered") == (await whole.ask("GET", "/v1/events/evt_reply/body")).body.decode()
