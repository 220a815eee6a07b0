"""The overview: its answer in a sentence, what fails, and the chart with what it says to who cannot see it."""

import re
from typing import Any

import pytest

from service.adapters.postgres.stats.counting import PostgresCountStore
from service.core.deliveries.request import Fault, Reply
from service.core.endpoints.gates.breaker import BreakerLimits
from service.core.reason import Reason
from service.web.charts import CHART_PX, Label, chart_of, sparkline_of
from service.web.pages.overview import lead_of, title_of
from tests.api.test_stats import answer, publish
from tests.api.whole_rig import OWNER, STRANGER, Whole
from tests.web.visitor import signed_in

pytestmark = pytest.mark.clock

STATES = ("delivered", "waiting", "dead", "cancelled", "fresh")
OVERVIEW = f"/dashboard/o/{OWNER}/overview"


def stats_of(counts: list[dict[str, int]], **changes: Any) -> dict[str, Any]:
    """An answer of ``get_stats`` with these buckets, an hour each, from midnight on."""
    whole = [dict.fromkeys(STATES, 0) | each for each in counts]
    buckets = [{**each, "starts_at": f"2026-11-20T{hour:02d}:00:00.000000Z"} for hour, each in enumerate(whole)]
    totals = {state: sum(each[state] for each in whole) for state in STATES}
    backlog = {"open": totals["waiting"] + totals["fresh"], "is_capped": False}
    told = {"period": "24h", "bucket_seconds": 3600, "buckets": buckets, "totals": totals, "backlog": backlog}
    return told | {"endpoints": 7, "failing_count": 0} | changes


async def test_whoever_signs_in_without_an_endpoint_is_told_to_add_one(whole: Whole) -> None:
    visitor = await signed_in(whole, by=STRANGER)
    seen = await visitor.get(f"/dashboard/o/{STRANGER}/overview")
    assert (seen.status, seen.title) == (200, "Webhooks go nowhere yet")
    assert "/endpoints/new" in seen.text
    assert "<svg role=" not in seen.text


async def test_a_failing_endpoint_comes_first_with_what_waits_and_when_it_is_tried(whole: Whole) -> None:
    for name in ("good", "<b>bad"):
        url = f"https://{name.removeprefix('<b>')}.example/?of=hunter2"
        await whole.made("POST", "/v1/endpoints", {"url": url, "event_types": ["*"], "description": name})
    await publish(whole, "evt_1", "evt_2")
    await PostgresCountStore(whole.engine).count_on(100)
    timeout, taken = Fault(Reason.TIMEOUT, 15_000), Reply(200, 80)
    await answer(whole, timeout, timeout, taken, taken, breaker=BreakerLimits(2, 60.0))
    visitor = await signed_in(whole)
    for period in ("", "?period=1h", "?period=7d", "?period=30d"):
        seen = await visitor.get(OVERVIEW + period)
        assert (seen.status, seen.title) == (200, "One of two endpoints is failing")
        assert "Nothing is lost: 2 deliveries wait" in seen.words
        assert re.search(r"Timeout since .*: the receiver did not answer in time\. 2 wait\. Next probe at", seen.words)
        assert "Left alone after failures" in seen.words
        assert "hunter2" not in seen.text
        assert "Show as table" in seen.words
        assert re.search(r'aria-label="4 deliveries in the last [^"]+: 2 arrived, 2 wait\."', seen.text)
        assert "style=" not in seen.text, "the pages' policy forbids it"


async def test_everything_arrives_and_what_healed_is_told(whole: Whole) -> None:
    await whole.made("POST", "/v1/endpoints", {"url": "https://a.example/", "event_types": ["*"]})
    await PostgresCountStore(whole.engine).count_on(100)
    await publish(whole, "evt_1")
    await answer(whole, Reply(200, 80))
    visitor = await signed_in(whole)
    seen = await visitor.get(OVERVIEW)
    assert seen.title == "Everything arrives"
    assert "100 %" in seen.words
    assert "no gate is shut" in seen.words


async def test_anothers_overview_is_not_there_and_an_unknown_period_is_refused(whole: Whole) -> None:
    visitor = await signed_in(whole)
    assert (await visitor.get(f"/dashboard/o/{STRANGER}/overview")).status == 404
    assert (await visitor.get(f"{OVERVIEW}?period=2h")).status == 400


@pytest.mark.parametrize(
    ("failing", "endpoints", "title"),
    [
        (0, 6, "Everything arrives"),
        (2, 7, "Two of seven endpoints are failing"),
        (1, 1, "The endpoint is failing"),
        (3, 3, "All three endpoints are failing"),
        (12, 1400, "12 of 1,400 endpoints are failing"),
    ],
)
def test_the_title_is_the_answer(failing: int, endpoints: int, title: str) -> None:
    assert title_of({"failing_count": failing, "endpoints": endpoints}) == title


def test_the_lead_says_what_was_given_up() -> None:
    assert lead_of(stats_of([{"dead": 1}])).endswith("1 delivery of the last 24 hours was given up.")


def test_what_waits_is_not_called_safe_beside_what_was_given_up() -> None:
    told = lead_of(stats_of([{"dead": 2, "waiting": 3}], failing_count=1))
    assert "Nothing is lost" not in told
    assert told.endswith(
        "3 deliveries wait and are tried again by themselves. 2 deliveries of the last 24 hours were given up."
    )
    assert "Nothing is lost: 3 deliveries" in lead_of(stats_of([{"waiting": 3}], failing_count=1))
    assert "1 delivery waits and is tried again by itself." in lead_of(stats_of([{"waiting": 1}], failing_count=1))


async def test_an_endpoint_that_only_answered_503_is_not_said_to_have_given_no_answer(whole: Whole) -> None:
    made = await whole.made("POST", "/v1/endpoints", {"url": "https://a.example/", "event_types": ["*"]})
    await publish(whole, "evt_1")
    await answer(whole, Reply(503, 80))
    visitor = await signed_in(whole)
    for path in (OVERVIEW, f"/dashboard/o/{OWNER}/endpoints/{made['id']}"):
        seen = await visitor.get(path)
        assert "nothing has ended yet" in seen.words, path
        assert "no answer yet" not in seen.words


def test_a_bar_never_leaves_the_chart_and_a_single_dead_delivery_is_seen() -> None:
    stats = stats_of([{"delivered": 100_000, "dead": 1, "waiting": 1, "fresh": 3}, {}, {"waiting": 1}])
    chart = chart_of(stats)
    assert chart.top == 120_000
    for bar in chart.bars:
        assert min(part.y for part in bar.segments) >= 0
        assert round(sum(part.height for part in bar.segments), 1) <= CHART_PX
    dead, waiting, *_ = chart.bars[0].segments
    assert (dead.state, waiting.state) == ("dead", "waiting")
    assert min(dead.height, waiting.height) >= 2
    assert len(chart.bars) == 2


def test_many_buckets_share_bars_and_none_is_lost() -> None:
    buckets = [
        {**dict.fromkeys(STATES, 0), "delivered": 1, "starts_at": f"2026-11-{1 + n // 24:02d}T{n % 24:02d}:00:00Z"}
        for n in range(168)
    ]
    chart = chart_of({**stats_of([{}]), "period": "7d", "buckets": buckets})
    assert len(chart.bars) == 84
    assert chart.top == 2
    assert {part.height for bar in chart.bars for part in bar.segments} == {CHART_PX}
    assert chart.bars[1].sentence == "1 Nov, 02:00: 2 delivered"


def test_labels_that_would_touch_those_at_the_ends_are_not_for_phones() -> None:
    assert [Label(x, "14:20").is_near_an_end for x in (12.5, 37.5, 62.5, 87.5)] == [True, False, False, True]


def test_a_sparkline_of_nothing_has_no_bars() -> None:
    nothing = dict.fromkeys(("delivered", "waiting", "dead", "fresh"), [0] * 24)
    assert not sparkline_of(nothing).bars
    assert sparkline_of(nothing).sentence == "No deliveries in the last 24 hours."
    assert len(sparkline_of({**nothing, "dead": [*[0] * 23, 1]}).bars) == 1
