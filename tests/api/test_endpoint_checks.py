"""``POST /v1/endpoints/check`` and ``?search=``: what somebody who sets up an endpoint looks at first."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from service.core.deliveries.request import Fault
from service.core.events.sample import sample_event
from service.core.reason import Reason
from tests.api.entrance_rig import sql
from tests.api.test_stats import answer
from tests.api.whole_rig import OWNER, STRANGER, Whole, whole_on

CHECK = "/v1/endpoints/check"


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole
        assert not whole.troubles.heard


async def publish(whole: Whole, event_type: str, count: int, *, by: str = OWNER) -> None:
    for number in range(count):
        body = sample_event(
            event_type, by, event_id=f"evt_{event_type.replace('.', '_')}{number}", number=number, now=datetime.now(UTC)
        )
        await whole.made("POST", "/v1/events", json.loads(body), by=by)


def ids(page: Any) -> set[str]:
    return {each["id"] for each in page["data"]}


async def test_a_filter_is_tried_on_the_newest_events_of_its_types(whole: Whole) -> None:
    await publish(whole, "message.sent", 3)
    await publish(whole, "link.clicked", 2)
    await publish(whole, "message.sent", 4, by=STRANGER)
    wanted = {"event_types": ["message.*"], "filter": {"match": {"id": {"in": ["evt_message_sent1"]}}}}
    checked = await whole.made("POST", CHECK, wanted)
    assert checked["is_valid"]
    assert (checked["events"]["examined"], checked["events"]["matching"]) == (3, 1)
    mismatches = checked["events"]["mismatches"]
    assert [each["event_id"] for each in mismatches] == ["evt_message_sent2", "evt_message_sent0"]
    assert mismatches[0]["clause"] == "match.id.in"
    everything = await whole.made("POST", CHECK, {"event_types": ["*"]})
    assert (everything["events"]["examined"], everything["events"]["matching"]) == (5, 5)


async def test_everything_that_is_wrong_is_told_at_once_and_nothing_is_stored(whole: Whole) -> None:
    wrong = {"url": "http://plain.example/", "event_types": ["message.snet"], "filter": {"math": {}}, "retry": "often"}
    checked = await whole.made("POST", CHECK, {**wrong, "rate_limit_per_second": -1})
    assert not checked["is_valid"]
    assert set(checked["errors"]) == {"url", "event_types[0]", "filter.math", "retry", "rate_limit_per_second"}
    assert checked["events"] is None
    assert checked["retry"] is None
    await whole.made("POST", CHECK, {"url": "https://fine.example/", "event_types": ["message.sent"]})
    assert await sql(whole.engine, "SELECT count(*) FROM endpoints") == 0


async def test_a_schedule_is_spelled_out(whole: Whole) -> None:
    for retry, delays in ((None, [5, 15, 45]), ("politicalcomms", [4, 16, 64]), ([7], [7])):
        checked = await whole.made("POST", CHECK, {"retry": retry})
        assert checked["retry"]["delays_seconds"][:3] == delays
        assert checked["retry"]["attempts_max"] == len(checked["retry"]["delays_seconds"]) + 1
        assert sum(checked["retry"]["delays_seconds"]) <= 259_200


async def test_only_who_may_write_checks(whole: Whole) -> None:
    made = await whole.made("POST", "/v1/keys", {"scopes": ["read"]})
    refused = await whole.ask("POST", CHECK, json={}, headers={"Authorization": f"Bearer {made['key']}"})
    assert refused.status == 403


async def test_failing_endpoints_are_found_by_their_breakers(whole: Whole) -> None:
    ill = await whole.made("POST", "/v1/endpoints", {"url": "https://a.example/ill", "event_types": ["message.sent"]})
    well = await whole.made("POST", "/v1/endpoints", {"url": "https://a.example/", "event_types": ["message.failed"]})
    await whole.made("POST", "/v1/endpoints", {"url": "https://c.example/", "event_types": ["*"]}, by=STRANGER)
    await publish(whole, "message.sent", 1)
    await answer(whole, Fault(Reason.TIMEOUT, 15_000))
    for path in ("/v1/endpoints", "/v1/endpoints/urls"):
        for query, found in (
            ("failing=true", {ill["id"]}),
            ("failing=false", {well["id"]}),
            ("failing=true&search=ill", {ill["id"]}),
            ("failing=true&state=paused", set()),
            ("search=a.example", {ill["id"], well["id"]}),
        ):
            assert ids(await whole.made("GET", f"{path}?{query}", None)) == found, (path, query)
    assert (await whole.made("GET", "/v1/stats", None))["failing_count"] == 1
    await whole.made("POST", f"/v1/endpoints/{ill['id']}/pause", None)
    assert ids(await whole.made("GET", "/v1/endpoints?failing=true", None)) == {ill["id"]}
    assert (await whole.ask("GET", "/v1/endpoints?failing=perhaps")).status == 400
    assert ids(await whole.made("GET", "/v1/endpoints?url=", None)) == set()


async def test_endpoints_are_found_by_what_people_know_of_them(whole: Whole) -> None:
    crm = await whole.made(
        "POST",
        "/v1/endpoints",
        {"url": "https://a.example/hooks?token=Hush", "event_types": ["*"], "description": "50 % of the CRM"},
    )
    other = await whole.made("POST", "/v1/endpoints", {"url": "https://b.example/crm", "event_types": ["*"]})
    await whole.made("POST", "/v1/endpoints", {"url": "https://c.example/crm", "event_types": ["*"]}, by=STRANGER)
    for search, found in (
        ("crm", {crm["id"], other["id"]}),
        ("a.EXAMPLE/hooks", {crm["id"]}),
        ("50 %25 o", {crm["id"]}),
        (other["id"], {other["id"]}),
        (other["id"][:-1], set()),
        ("Hush", set()),
        ("%25", {crm["id"]}),
        ("_", set()),
    ):
        assert ids(await whole.made("GET", f"/v1/endpoints?search={search}", None)) == found, search
