"""Every page: whose it is, what it makes of hostile text, and what it says when there is nothing."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from bench.pages import unmeasured
from service.core.events.sample import sample_event
from service.core.wording import duration
from service.web.code import coloured_json
from service.web.pages.deliveries.signatures import SIGNED, checked
from service.web.pages.events import answered_by, message_of
from service.web.words import INDENTED_CHARACTERS_MAX, bytes_, percent, relative, span, url
from tests.api.entrance_rig import sql
from tests.api.test_outage import behind_relay
from tests.api.whole_rig import OWNER, Things, Whole, make_things
from tests.receiver.test_vectors import VECTORS as ALL_VECTORS
from tests.web.visitor import Visitor, signed_in
from webhook_signature import Webhook
from webhook_signature.styles import STYLES

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg/onload=alert(3)>"
BASE = f"/dashboard/o/{OWNER}"
VECTORS = ALL_VECTORS["signatures"]
OTHER_SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"


@pytest.fixture
async def things(whole: Whole) -> Things:
    return await make_things(whole)


async def test_what_others_wrote_is_text(whole: Whole) -> None:
    endpoint = await whole.made(
        "POST",
        "/v1/endpoints",
        {
            "url": "https://h.example/%22%3E%3Cscript%3E",
            "description": HOSTILE,
            "event_types": ["message.replied"],
            "metadata": {"k": HOSTILE},
        },
    )
    await whole.made("POST", "/v1/keys", {"scopes": ["read"], "name": HOSTILE})
    event = json.loads(sample_event("message.replied", OWNER, event_id="evt_hostile", number=1, now=datetime.now(UTC)))
    event["data"]["message"]["text"] = HOSTILE
    event["data"]["message"]["id"] = HOSTILE[:60]
    await whole.made("POST", "/v1/events", event)
    delivery = (await whole.made("GET", "/v1/deliveries", None))["data"][0]
    visitor = await signed_in(whole)
    for path in (
        "/endpoints",
        f"/endpoints/{endpoint['id']}",
        "/deliveries",
        f"/deliveries/{delivery['id']}",
        "/events",
        "/events/evt_hostile",
        "/keys",
        "/audit",
        f"/events?message_id={HOSTILE.replace('&', '')}",
        f"/deliveries?event_id={HOSTILE}",
        "/deliveries?endpoint_id=//[",
        f"/replays/new?endpoint_id={HOSTILE}&count=1",
        f"/find?q={HOSTILE}",
    ):
        seen = await visitor.get(f"{BASE}{path}")
        assert "<script>alert" not in seen.text, path
        assert not re.search(r"<(img|svg)[^>]* on", seen.text), path


async def test_an_empty_list_says_what_fills_it(whole: Whole) -> None:
    visitor = await signed_in(whole)
    for path, words in {
        "/endpoints": "Webhooks go nowhere yet",
        "/deliveries": "Nothing was delivered yet",
        "/deliveries?state=dead": "No delivery matches these filters",
        "/events": "No event came yet",
        "/replays": "Nothing was replayed yet",
    }.items():
        assert words in (await visitor.get(f"{BASE}{path}")).words, path


async def test_a_filter_that_cannot_be_used_is_named(whole: Whole, things: Things) -> None:
    seen = await (await signed_in(whole)).get(f"{BASE}/deliveries?state=lost")
    assert seen.status == 200
    assert "This filter cannot be used" in seen.words


async def test_one_delivery_is_replayed_at_once_and_several_as_a_job(whole: Whole, things: Things) -> None:
    async with whole.engine.begin() as connection:
        await connection.exec_driver_sql("DELETE FROM open_deliveries")
    visitor = await signed_in(whole)
    refused = await visitor.post(f"{BASE}/deliveries/replay", {"ids": things.delivery_id})
    assert refused.status == 404
    job = await visitor.post(f"{BASE}/replays", {"endpoint_id": things.endpoint_id, "states": "dead", "rate": "10"})
    assert job.status == 303
    shown = await visitor.get(job.location)
    assert "The replay has begun" in shown.words
    assert shown.title == "Counting what to replay", "no worker runs here"
    assert 'hx-trigger="load delay:2s"' in shown.text
    assert (await visitor.post(f"{job.location.split('?')[0]}/pause")).status == 303
    paused = await visitor.get(job.location)
    assert paused.title.startswith("Paused at")
    assert "hx-trigger" not in paused.text
    assert (await visitor.post(f"{job.location.split('?')[0]}/cancel")).status == 303


async def test_every_page_is_measured(whole: Whole) -> None:
    assert unmeasured(whole.engine) == [], "say in bench.pages how to ask for these"


async def test_a_replay_is_counted_before_it_begins(whole: Whole, things: Things) -> None:
    visitor = await signed_in(whole)
    counted = await visitor.get(f"{BASE}/replays/new?endpoint_id={things.endpoint_id}&count=1")
    assert "0 would be sent again." in counted.words
    at_once = await visitor.get(f"{BASE}/replays/new?endpoint_id={things.endpoint_id}")
    assert "would be sent again" not in at_once.words, "to count may take longer than a page should"
    assert re.findall(r'hx-get="([^"]*)"', at_once.text) == [
        f"{BASE}/replays/new?endpoint_id={things.endpoint_id}&amp;count=1"
    ]
    nothing = await visitor.get(f"{BASE}/replays/new?count=1")
    assert nothing.status == 400
    assert "This cannot be replayed." in nothing.words
    wrong = await visitor.post(f"{BASE}/replays", {"endpoint_id": things.endpoint_id, "rate": "many"})
    assert wrong.status == 400
    assert "must be a whole number" in wrong.words
    endless = await visitor.post(f"{BASE}/replays", {"endpoint_id": things.endpoint_id, "rate": "9" * 5_000})
    assert endless.status == 400
    away = f"{BASE}/replays/new?endpoint_id={things.endpoint_id}&count=1&since=2026-01-01T00:00:00-05:00"
    assert "0 would be sent again." in (await visitor.get(away)).words, "a time may have any offset"


async def test_a_key_is_shown_once(whole: Whole) -> None:
    visitor = await signed_in(whole)
    made = await visitor.post(f"{BASE}/keys", {"name": "zap", "scopes": "read", "expires_in_days": "30"})
    found = re.search(r"ph_live_[0-9a-f]{16}_[A-Za-z0-9_-]{49}", made.text)
    assert found is not None
    assert found[0] not in (await visitor.get(f"{BASE}/keys")).text
    assert (await signed_in(whole, key=found[0])).token
    nothing = await visitor.post(f"{BASE}/keys", {"name": "zap"})
    assert nothing.status == 400


@pytest.mark.parametrize("days", ["nonsense", "-1", "0", "\N{ARABIC-INDIC DIGIT THREE}", "9" * 5000])
async def test_a_key_that_was_to_expire_never_lasts_for_ever(whole: Whole, days: str) -> None:
    visitor = await signed_in(whole)
    before = await whole.made("GET", "/v1/keys", None)
    seen = await visitor.post(f"{BASE}/keys", {"name": "n8n", "scopes": "read", "expires_in_days": days})
    assert (seen.status, "n8n" in seen.text) == (400, True), "what was written is not lost"
    after = await whole.made("GET", "/v1/keys", None)
    assert len(after["data"]) == len(before["data"])
    again = await visitor.post(f"{BASE}/keys", {"name": "n8n", "expires_in_days": "30"})
    assert (again.status, '<option value="30" selected>' in again.text) == (400, True), "nor once the form is mended"


async def test_only_a_list_that_is_whole_is_counted(whole: Whole) -> None:
    visitor = await signed_in(whole)
    made = [await whole.made("POST", "/v1/keys", {"scopes": ["read"]}) for _ in range(2)]
    assert (await visitor.get(f"{BASE}/keys")).title == "3 API keys"
    await sql(whole.engine, "UPDATE api_keys SET expires_at = created_at WHERE id = $1 RETURNING 1", made[0]["id"])
    await whole.made("DELETE", f"/v1/keys/{made[1]['id']}", None)
    assert (await visitor.get(f"{BASE}/keys")).title == "1 API key"
    await sql(
        whole.engine,
        """INSERT INTO api_keys (id, organization_id, digest, hint, scopes)
           SELECT 'key_' || n, $1, sha256(n::text::bytea), 'h', '{read}' FROM generate_series(1, 60) n RETURNING 1""",
        OWNER,
    )
    await sql(
        whole.engine,
        """INSERT INTO event_types (organization_id, name, description, schema)
           SELECT $1, 'a.t' || n, '', '{}' FROM generate_series(1, 60) n RETURNING 1""",
        OWNER,
    )
    assert (await visitor.get(f"{BASE}/keys")).title == "API keys"
    assert (await visitor.get(f"{BASE}/event-types")).title == "Event types"


async def test_whatever_is_known_is_found(whole: Whole, things: Things) -> None:
    visitor = await signed_in(whole)
    for text, where in {
        things.endpoint_id: f"/endpoints/{things.endpoint_id}",
        things.delivery_id: f"/deliveries/{things.delivery_id}",
        things.event_id: f"/events/{things.event_id}",
        things.message_id: f"/events/{things.event_id}",
        "mine.example": "/endpoints?search=mine.example",
    }.items():
        assert (await visitor.get(f"{BASE}/find?q={text}")).location == f"{BASE}{where}", text


async def test_the_database_is_away(database_url: str) -> None:
    async with behind_relay(database_url) as (whole, relay):
        visitor = await signed_in(whole)
        await relay.close()
        for path in ("/deliveries", "/endpoints", "/nothing-here"):
            seen = await visitor.get(f"{BASE}{path}")
            assert seen.status in {404, 503}, path
            assert "Quote <code>req_" in seen.text
        seen = await Visitor(whole.client).post("/dashboard/sign-in", {"key": whole.keys[OWNER].text})
        assert (seen.status, "did not answer" in seen.words) == (503, True)


async def test_a_form_is_bounded(whole: Whole) -> None:
    visitor: Visitor = await signed_in(whole)
    assert (await visitor.post(f"{BASE}/replays", {"since": "x" * 600_000})).status == 413
    many = await visitor.post(f"{BASE}/replays", {f"f{number}": "1" for number in range(600)})
    assert many.status == 400


async def test_deep_and_odd_events_are_shown_without_growing(whole: Whole) -> None:
    event = json.loads(sample_event("message.sent", OWNER, event_id="evt_deep", number=1, now=datetime.now(UTC)))
    deep: object = [1] * 20_000
    for _ in range(40):
        deep = [deep]
    event["data"]["deep"] = deep
    await whole.made("POST", "/v1/events", event)
    visitor = await signed_in(whole)
    seen = await visitor.get(f"{BASE}/events/evt_deep")
    assert seen.status == 200
    assert len(seen.text) < 200_000
    assert (await visitor.get(f"{BASE}/events")).status == 200


@pytest.mark.parametrize("style", STYLES)
def test_a_signature_of_each_style_is_checked(style: str) -> None:
    """Also one that was sent before the endpoint's style was changed."""
    assert style in SIGNED
    vector = next(each for each in VECTORS if each.get("style", "standard") == style)
    body, secret = base64.b64decode(vector["body_base64"]), vector["secrets"][0]
    headers = Webhook([secret], style=style).sign(vector.get("id", ""), vector["timestamp_seconds"], body)
    attempt = {"number": 1, "request": {"is_recorded": True, "headers": headers}}
    for now in (style, "standard"):
        endpoint = {"signature_style": now, "signature_header": None}
        assert checked(secret, attempt, body.decode(), endpoint)["is_right"], now
        assert not checked(OTHER_SECRET, attempt, body.decode(), endpoint)["is_right"]
        assert not checked(secret, attempt, f"{body.decode()} ", endpoint)["is_right"]


@pytest.mark.parametrize("body", [b"{}", b'{"data":7}', b'{"data":{"message":[]}}', b'{"data":{"message":{"id":7}}}'])
def test_an_event_about_no_message_is_about_nothing(body: bytes) -> None:
    assert message_of(body).id == ""
    assert answered_by(body) == ""


@pytest.mark.parametrize("reply_to", ["a text", 7, {"message_id": 7}, [], None])
def test_what_an_own_type_calls_reply_to_hides_no_message(reply_to: object) -> None:
    body = json.dumps({"data": {"message": {"id": "msg_1"}, "reply_to": reply_to}}).encode()
    assert (message_of(body).id, answered_by(body)) == ("msg_1", "")


def test_a_time_is_told_in_words() -> None:
    assert [relative(each) for each in (0, -31, -2_280, 480, timedelta(days=5).total_seconds())] == [
        "now",
        "31 s ago",
        "38 min ago",
        "in 8 min",
        "in 5 days",
    ]
    assert [duration(each) for each in (96, 15_000, 135_000, 120_000)] == ["96 ms", "15.0 s", "2 min 15", "2 min"]
    assert [percent(each) for each in (1, 0.99999, 0.8849, None)] == ["100 %", "99.99 %", "88.49 %", "\N{EN DASH}"]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (span(59.4), "59 s"),
        (span(59.6), "1 min"),
        (span(3599.7), "1 h"),
        (duration(999.4), "999 ms"),
        (duration(999.6), "1.0 s"),
        (duration(59_940), "59.9 s"),
        (duration(59_960), "1 min"),
        (duration(135_000), "2 min 15"),
        (duration(11_100_000), "3 h 05"),
        (duration(3_599_800), "1 h 00"),
        (duration(187_200_000), "2 d 4 h"),
        (bytes_(999_949), "999.9 kB"),
        (bytes_(999_950), "1.0 MB"),
        (url("https://s/s"), '<span class="url"><b>s</b><wbr><span>/s</span></span>'),
        (url("http://s/s"), '<span class="url"><b>http://s</b><wbr><span>/s</span></span>'),
    ],
)
def test_a_figure_is_rounded_before_its_unit_is_chosen(told: str, words: str) -> None:
    assert told == words


def test_json_is_coloured_and_stays_text() -> None:
    told = coloured_json('{"<i>":{"a\\"b":"\\u003cb>"},"list":["c: d",1.0]}')
    assert "<b>&#34;&lt;i&gt;&#34;</b>: {" in told
    assert "<b>&#34;a\\&#34;b&#34;</b>: <i>&#34;" in told
    assert told.count("<b>") == 3
    assert "<i>&#34;c: d&#34;</i>" in told, "a text with a colon in it is no name"
    assert "<var>1.0</var>" in told
    long = coloured_json(f'{{"a":"{"x" * INDENTED_CHARACTERS_MAX}<"}}')
    assert "<b>" not in long
    assert long.endswith("&lt;&#34;}")
