"""``/v1/stats``: what a page, a wall board and a script read."""

from collections.abc import AsyncIterator

import pytest

from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.stats.counting import PostgresCountStore
from service.core.deliveries.request import Fault, Reply
from service.core.endpoints.gates.breaker import BreakerLimits
from service.core.reason import Reason
from tests.api.conftest import envelope
from tests.api.whole_rig import OWNER, STRANGER, Things, Whole, make_things, whole_on
from tests.fakes.delivery_store import alike
from tests.fakes.settlements import settled_by

pytestmark = pytest.mark.clock


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole
        assert not whole.troubles.heard


@pytest.fixture
async def things(whole: Whole) -> Things:
    return await make_things(whole)


async def answer(whole: Whole, *replies: Reply | Fault, breaker: BreakerLimits | None = None) -> None:
    """Everything that is due is tried, and answered so in turn: endpoint by endpoint, each one's events in order."""
    store = PostgresDeliveryStore(whole.engine, worker_name="w", lease_seconds=60.0, breaker=breaker or BreakerLimits())
    claims = await store.claim_due(alike(100, 100))
    assert len(claims) == len(replies)
    in_turn = sorted(claims, key=lambda each: (each.delivery.key.subscription_id, each.delivery.key.event_uid))
    for claim, reply in zip(in_turn, replies, strict=True):
        await store.settle([settled_by(claim, reply)])


async def publish(whole: Whole, *ids: str) -> None:
    for each in ids:
        told = await whole.ask("POST", "/v1/events", json=envelope(each, organization_id=None))
        assert told.status == 202, told.json


async def test_an_organization_without_deliveries_has_figures_of_none(whole: Whole) -> None:
    told = await whole.ask("GET", "/v1/stats", by=STRANGER)
    assert told.status == 200
    assert (told.json["period"], told.json["bucket_seconds"], len(told.json["buckets"])) == ("24h", 900, 96)
    assert told.json["success_rate"] is None
    assert told.json["receiver_time"] == {"p50_ms": None, "p95_ms": None, "attempts": 0}
    assert (told.json["endpoints"], told.json["failing"], told.json["healed"], told.json["gates"]) == (0, [], [], [])
    assert told.json["backlog"] == {"open": 0, "due": 0, "held": 0, "oldest_due_at": None, "is_capped": False}


async def test_an_endpoint_that_fails_is_named_with_a_sentence_and_its_next_probe(whole: Whole) -> None:
    made = await whole.made("POST", "/v1/endpoints", {"url": "https://a.example/?t=1", "event_types": ["*"]})
    await publish(whole, "evt_1", "evt_2")
    timeout = Fault(Reason.TIMEOUT, 15_000)
    await answer(whole, timeout, timeout, breaker=BreakerLimits(2, 60.0))
    found = (await whole.ask("GET", "/v1/stats?period=1h")).json
    (failing,) = found["failing"]
    assert (failing["endpoint_id"], failing["url"]) == (made["id"], "https://a.example/?***")
    assert (failing["attempts_failed"], failing["open"], failing["last_failure_reason"]) == (2, 2, "timeout")
    assert failing["next_probe_at"] is not None
    assert failing["sentence"].startswith(
        f"Failing since {failing['since']}: the receiver did not answer in time. 2 wait."
    )
    assert [(each["kind"], each["endpoints"], each["open"]) for each in found["gates"]] == [("breaker", 1, 2)]
    assert (found["totals"]["waiting"], found["backlog"]["held"], found["success_rate"]) == (2, 2, 0.0)


async def test_what_just_ended_and_what_was_counted_are_shown_alike(whole: Whole, things: Things) -> None:
    """An endpoint's figures, the organization's, and its line."""
    counts = PostgresCountStore(whole.engine, lag_seconds=0.0)
    await counts.count_on(100)
    before = (await whole.ask("GET", f"/v1/stats?endpoint_id={things.endpoint_id}")).json
    await counts.count_on(100)
    await counts.count_back(100)
    after = (await whole.ask("GET", f"/v1/stats?endpoint_id={things.endpoint_id}")).json
    assert before["complete_since"] is not None
    assert after["complete_since"] is None
    assert (await whole.ask("GET", "/v1/stats")).json["totals"] == after["totals"]
    line = (await whole.ask("GET", f"/v1/stats/endpoints?endpoint_id={things.endpoint_id},ep_nobody")).json
    assert [each["endpoint_id"] for each in line["data"]] == [things.endpoint_id, "ep_nobody"]
    for state, count in after["totals"].items():
        assert sum(line["data"][0][state]) == count
        assert line["data"][1][state] == [0] * 24


async def test_nobody_sees_anothers_figures(whole: Whole, things: Things) -> None:
    assert (await whole.ask("GET", f"/v1/stats?endpoint_id={things.endpoint_id}", by=STRANGER)).status == 404
    line = (await whole.ask("GET", f"/v1/stats/endpoints?endpoint_id={things.endpoint_id}", by=STRANGER)).json
    assert line["data"][0]["delivered"] == [0] * 24
    assert line["data"][0]["open"] == 0
    assert (await whole.ask("GET", "/v1/stats", by=STRANGER)).json["endpoints"] == 0
    assert (await whole.ask("GET", "/v1/stats", by=OWNER)).json["endpoints"] == 1


@pytest.mark.parametrize("query", ["period=2h", "period=", "endpoints=1"])
async def test_unknown_periods_are_refused(whole: Whole, query: str) -> None:
    assert (await whole.ask("GET", f"/v1/stats?{query}")).status == 400


async def test_at_most_200_endpoints_are_asked_for_at_once(whole: Whole) -> None:
    many = ",".join(f"ep_{number}" for number in range(201))
    assert (await whole.ask("GET", f"/v1/stats/endpoints?endpoint_id={many}")).status == 400
    assert (await whole.ask("GET", "/v1/stats/endpoints")).status == 400
