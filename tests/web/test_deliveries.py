"""Deliveries as their pages tell them: what waits and why, what was sent, and how it is sent by hand."""

import html
import json
import re
import shlex
from datetime import UTC, datetime
from typing import cast
from urllib.parse import quote

import pytest
from jinja2.runtime import Context
from markupsafe import Markup

from service.core.deliveries.request import Fault, Reply
from service.core.endpoints.gates.breaker import BreakerLimits
from service.core.events.sample import sample_event
from service.core.reason import Reason
from service.web.pages.deliveries.signatures import signed_first
from service.web.pages.endpoints.choices import spelled_out
from service.web.words import at_second, until, with_times
from tests.api.test_stats import answer, publish
from tests.api.whole_rig import OWNER, STRANGER, Whole
from tests.web.visitor import Seen, Visitor, signed_in
from webhook_signature import Webhook

BASE = f"/dashboard/o/{OWNER}"
TIMEOUT = Fault(Reason.TIMEOUT, 15_000)


async def endpoint_of(whole: Whole, url: str = "https://a.example/hook", **settings: object) -> str:
    made = await whole.made("POST", "/v1/endpoints", {"url": url, "event_types": ["*"], **settings})
    return str(made["id"])


async def delivery_page(whole: Whole, visitor: Visitor) -> Seen:
    """The page of the newest delivery."""
    delivery_id = (await whole.made("GET", "/v1/deliveries", None))["data"][0]["id"]
    return await visitor.get(f"{BASE}/deliveries/{delivery_id}")


async def test_what_a_breaker_keeps_back_is_said_to_be_held_until_it_opens(whole: Whole) -> None:
    await endpoint_of(whole)
    await publish(whole, "evt_1")
    await answer(whole, TIMEOUT, breaker=BreakerLimits(1, 600.0))
    visitor = await signed_in(whole)
    listed, shown = await visitor.get(f"{BASE}/deliveries"), await delivery_page(whole, visitor)
    assert re.search(r"Held back until ([^<>]{3,8} )?\d\d:\d\d", " ".join(listed.words.split())), listed.words
    assert re.search(r"is left alone until ([^<>]{3,8} )?\d\d:\d\d:\d\d, in (9|10) min", " ".join(shown.words.split()))
    assert "Next attempt held back: the endpoint failed" in shown.words
    for seen in (listed, shown):
        assert 'class="badge warn"' in seen.text
        assert "retrying" not in seen.words
        assert "due now" not in seen.words


async def test_what_waits_at_a_paused_endpoint_is_held_until_somebody_resumes_it(whole: Whole) -> None:
    paused = await endpoint_of(whole)
    await endpoint_of(whole, "https://b.example/hook")
    await publish(whole, "evt_1")
    await whole.made("POST", f"/v1/endpoints/{paused}/pause", None)
    visitor = await signed_in(whole)
    listed = await visitor.get(f"{BASE}/deliveries")
    assert listed.words.count("Held back until somebody resumes the endpoint") == 1, "the other one is due"
    (delivery,) = (await whole.made("GET", f"/v1/deliveries?endpoint_id={paused}", None))["data"]
    shown = await visitor.get(f"{BASE}/deliveries/{delivery['id']}")
    assert "Held back until somebody resumes the endpoint: the endpoint is paused." in shown.words


async def test_a_delivery_that_is_due_after_its_gate_opens_is_not_held(whole: Whole) -> None:
    await endpoint_of(whole)
    await publish(whole, "evt_1")
    await answer(whole, Reply(503, 20), breaker=BreakerLimits(1, 1.0))
    shown = await delivery_page(whole, await signed_in(whole))
    assert "Next attempt" in shown.words
    assert "held back" not in shown.words.lower()


async def test_a_list_has_a_pip_for_each_attempt_that_is_allowed_and_of_what_ended_for_each_made(whole: Whole) -> None:
    await endpoint_of(whole, retry=[4, 16])
    await publish(whole, "evt_1")
    await answer(whole, Reply(503, 20))
    await publish(whole, "evt_2")
    await answer(whole, Reply(204, 20))
    viewer = await signed_in(whole, key=(await whole.made("POST", "/v1/keys", {"scopes": ["read"]}))["key"])
    text = (await viewer.get(f"{BASE}/deliveries")).text
    pips = re.findall(r'aria-label="([^"]* attempts? made)">(.*?)</span>', text)
    bad, coming, later = '<i class="bad"></i>', '<i class="next"></i>', "<i></i>"
    assert pips == [("1 attempt made", '<i class="ok"></i>'), ("1 of 3 attempts made", bad + coming + later)]


def curl_of(seen: Seen) -> list[str]:
    """The words of the command that the page lets one copy."""
    found = re.search(r'data-copy="(curl [^"]*)"', seen.text)
    assert found is not None, seen.text
    return shlex.split(Markup(found[1]).unescape(), comments=True)  # noqa: S704 - read, never shown


async def test_what_is_copied_as_curl_sends_the_very_body_to_the_very_url(whole: Whole) -> None:
    await endpoint_of(whole, "https://a.example/hook?token=t1", headers={"X-Pass": "private-pass"})
    await publish(whole, "evt_1")
    visitor = await signed_in(whole)
    body = (await whole.ask("GET", "/v1/events/evt_1/body")).body.decode()
    before = curl_of(await delivery_page(whole, visitor))
    assert before[-2:] == ["--data-raw", body], "also of a delivery that was not tried yet"
    await answer(whole, Reply(503, 20))
    words = curl_of(await delivery_page(whole, visitor))
    assert words[:5] == ["curl", "-i", "-X", "POST", "https://a.example/hook?token=t1"]
    assert words[-2:] == ["--data-raw", body]
    assert "Content-Type: application/json" in words
    viewer = await signed_in(whole, key=(await whole.made("POST", "/v1/keys", {"scopes": ["read"]}))["key"])
    assert curl_of(await delivery_page(whole, viewer))[4] == "https://a.example/hook?***"


async def test_a_large_body_is_fetched_before_it_is_sent(whole: Whole) -> None:
    await endpoint_of(whole)
    event = json.loads(sample_event("message.sent", OWNER, event_id="evt_large", number=1, now=datetime.now(UTC)))
    event["data"]["note"] = "x" * 20_000
    await whole.made("POST", "/v1/events", event)
    words = curl_of(await delivery_page(whole, await signed_in(whole)))
    assert "$API_URL/v1/events/evt_large/body" in words
    assert words[-2:] == ["--data-binary", "@event.json"]


async def test_attempts_are_told_to_the_second_with_what_was_signed_and_how_many_there_are(whole: Whole) -> None:
    await endpoint_of(whole)
    await publish(whole, "evt_1")
    visitor = await signed_in(whole)
    seen = await delivery_page(whole, visitor)
    assert seen.title == "link.clicked waits for attempt 1 of 12"
    assert "12 attempts in" in seen.words
    assert re.search(r"this delivery was made ([^<>]{3,8}, )?\d\d:\d\d:\d\d", " ".join(seen.words.split()))
    viewer = await signed_in(whole, key=(await whole.made("POST", "/v1/keys", {"scopes": ["read"]}))["key"])
    assert (await delivery_page(whole, viewer)).title == "link.clicked waits for attempt 1 of 12", (
        "as whoever may write"
    )


@pytest.mark.parametrize(
    ("style", "first"), [("standard", "evt_1.1763749535."), ("t-v1", "1763749535."), ("sha256-body", "")]
)
def test_what_was_signed_before_the_body_is_told_with_its_values(style: str, first: str) -> None:
    secret = "whsec_" + "QUJD" * 11
    headers = Webhook([secret], style=style).sign("evt_1", 1_763_749_535, b"{}")
    endpoint = {"signature_style": style, "signature_header": None}
    assert signed_first({"request": {"is_recorded": True, "headers": headers}}, endpoint) == first
    assert signed_first({"request": {"is_recorded": True, "headers": {}}}, endpoint) is None
    assert signed_first({"request": {"is_recorded": False, "headers": headers}}, endpoint) is None


async def test_what_explains_an_event_has_times_as_pages_write_them(whole: Whole) -> None:
    await endpoint_of(whole)
    await publish(whole, "evt_1")
    await answer(whole, TIMEOUT, breaker=BreakerLimits(1, 600.0))
    seen = await (await signed_in(whole)).get(f"{BASE}/events/evt_1")
    assert re.search(r"until ([^<>]{3,8} )?\d\d:\d\d:\d\d\.", " ".join(seen.words.split())), seen.words
    assert re.search(r"\dT\d\d:\d\d:\d\d\.\d", seen.words.partition("Envelope")[0]) is None


async def test_whoever_asked_is_told_by_the_name_of_the_key(whole: Whole) -> None:
    endpoint_id = await endpoint_of(whole)
    scopes = ["read", "write", "admin"]
    made = await whole.made("POST", "/v1/keys", {"scopes": scopes, "name": "the <b>night</b> shift"})
    by_name = await signed_in(whole, key=made["key"])
    await by_name.post(f"{BASE}/endpoints/{endpoint_id}/pause")
    job = await by_name.post(f"{BASE}/replays", {"endpoint_id": endpoint_id, "states": "dead"})
    visitor = await signed_in(whole)
    for path in (f"{BASE}/audit", f"{BASE}/endpoints/{endpoint_id}/history", job.location):
        seen = await visitor.get(path)
        assert "the <b>night</b> shift" in seen.words, path
        assert "<b>night" not in seen.text


def test_times_are_told_to_the_second_where_that_matters() -> None:
    now = datetime(2026, 11, 20, 14, 19, 40, tzinfo=UTC)
    context = cast("Context", {"now": now})
    assert ">14:19:05<" in at_second(context, "2026-11-20T14:19:05.123456Z")
    assert ">19 Nov, 14:19:05<" in at_second(context, "2026-11-19T14:19:05.123456Z")
    assert with_times(context, "<b> since 2026-11-20T14:19:05.123456Z, not 2026-99-20T14:19:05Z").endswith(
        ">14:19:05</time>, not 2026-99-20T14:19:05Z"
    )
    assert until(context, "2026-11-21T11:33:40.000000Z") == "21 h 14 min"
    assert spelled_out({"attempts_max": 3, "delays_seconds": [0.5, 1.0]}) == "3 attempts in 1.5 s: after 0.5 s, 1 s."


async def test_an_id_of_any_kind_leads_to_its_deliveries(whole: Whole) -> None:
    await endpoint_of(whole)
    await publish(whole, "evt_1", "evt_2")
    visitor = await signed_in(whole)
    (delivery,) = (await whole.made("GET", "/v1/deliveries?event_id=evt_1", None))["data"]
    message_id = (await whole.made("GET", "/v1/events/evt_1", None))["data"]["message"]["id"]
    for wanted, place in (
        (delivery["id"], f"/deliveries/{delivery['id']}"),
        ("evt_1", "/deliveries?event_id=evt_1"),
        (message_id, f"/deliveries?message_id={message_id}"),
    ):
        seen = await visitor.get(f"{BASE}/deliveries?id={wanted}")
        assert (seen.status, seen.location) == (303, BASE + place)
    listed = await visitor.get(f"{BASE}/deliveries?event_id=evt_1&state=pending")
    assert listed.text.count('class="name"') == 1
    assert f'class="drop" href="{BASE}/deliveries?event_id=evt_1"' in listed.text, "each filter can be dropped alone"
    stranger = await signed_in(whole, by=STRANGER)
    for wanted in (delivery["id"], "evt_1", message_id, "dlv_nonsense", "a/b c", "<b>x"):
        seen = await stranger.get(f"/dashboard/o/{STRANGER}/deliveries?id={quote(wanted)}")
        assert (seen.status, seen.title) == (200, "No delivery matches"), wanted
        assert f"There is none with the id {wanted}" in " ".join(seen.words.split())
        assert "<b>x" not in seen.text


async def test_what_no_delivery_matches_is_said_in_a_sentence(whole: Whole) -> None:
    endpoint_id = await endpoint_of(whole)
    visitor = await signed_in(whole)
    for query, sentence in (
        ("state=dead&reason=dns&within=1h", "Among those of the last hour there is none that is dead, with the reason"),
        (f"endpoint_id={endpoint_id}", "There is none to a.example."),
        ("status_code=5xx,429", "There is none answered 5xx or 429."),
        ("within=7d", "Among those of the last 7 days there is none."),
    ):
        assert sentence in " ".join((await visitor.get(f"{BASE}/deliveries?{query}")).words.split()), query


async def test_the_chart_above_the_list_is_of_the_same_deliveries_or_is_not_there(whole: Whole) -> None:
    first = await endpoint_of(whole)
    await endpoint_of(whole, "https://b.example/hook")
    await publish(whole, "evt_1", "evt_2")
    visitor = await signed_in(whole)
    for query, told in (
        ("", "4 deliveries in the last 24 hours"),
        ("within=1h", "4 deliveries in the last hour"),
        (f"endpoint_id={first}", "2 deliveries in the last 24 hours"),
        (f"endpoint_id={first}&within=30d", "2 deliveries in the last 30 days"),
    ):
        place = place_of_chart(await visitor.get(f"{BASE}/deliveries?{query}"))
        assert f'aria-label="{told}' in (await visitor.get(place)).text, query
    week = (await visitor.get(f"{BASE}/deliveries/chart?within=7d")).words
    assert "last 7 days, each 2 h" in week, "84 bars of 168 hours"
    page = await whole.made("GET", "/v1/deliveries?limit=1", None)
    none = ("state=pending", "event_type=link.clicked", "within=nonsense", f"endpoint_id={first},ep_x")
    for query in (*none, f"cursor={page['next_cursor']}"):
        assert place_of_chart(await visitor.get(f"{BASE}/deliveries?{query}")) == "", query
        part = await visitor.get(f"{BASE}/deliveries/chart?{query}")
        assert (part.status, part.text.strip()) == (200, ""), query
    stranger = await signed_in(whole, by=STRANGER)
    assert (await stranger.get(f"/dashboard/o/{STRANGER}/deliveries/chart?endpoint_id={first}")).text.strip() == ""
    assert (await stranger.get(f"{BASE}/deliveries/chart")).status == 404


def place_of_chart(seen: Seen) -> str:
    """Where the chart of the page is read from; "" if it has none."""
    found = re.search(r'class="chart[^>]*hx-get="([^"]*)"', seen.text)
    return html.unescape(found[1]) if found else ""
