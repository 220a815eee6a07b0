"""The Idempotency-Key of a request stands for the ids of its events."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.conftest import envelope
from tests.api.entrance_rig import sql
from tests.api.whole_rig import OWNER, STRANGER, Whole, whole_on

NAMELESS = {name: value for name, value in envelope().items() if name not in {"id", "organization_id"}}
BATCH = {"events": [NAMELESS, {**NAMELESS, "id": "evt_2"}, NAMELESS]}


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole


async def _published(whole: Whole, body: object, key: str, *, by: str = OWNER) -> list[tuple[str, str]]:
    told = await whole.ask("POST", "/v1/events", json=body, by=by, headers={"Idempotency-Key": key})
    assert told.status == 202, told.body
    return [(each["id"], each["status"]) for each in told.json["data"]]


async def _forget_requests(whole: Whole) -> None:
    await sql(whole.engine, "DELETE FROM idempotency_keys")


async def test_a_retry_meets_the_same_events_long_after_the_answer_was_forgotten(whole: Whole) -> None:
    first = await _published(whole, BATCH, "k1")
    await _forget_requests(whole)
    again = await _published(whole, BATCH, "k1")
    assert [status for _, status in first] == ["accepted", "accepted", "accepted"]
    assert again == [(event_id, "duplicate") for event_id, _ in first]
    assert len({event_id for event_id, _ in first}) == 3
    assert first[1][0] == "evt_2", "an id that is given stays"
    stored = await whole.ask("GET", f"/v1/events/{first[0][0]}")
    assert stored.json["id"] == first[0][0]


async def test_each_organization_key_and_place_has_ids_of_its_own(whole: Whole) -> None:
    mine = await _published(whole, NAMELESS, "k1")
    found = {*mine, *await _published(whole, NAMELESS, "k2"), *await _published(whole, NAMELESS, "k1", by=STRANGER)}
    assert len(found) == 3
    assert all(status == "accepted" for _, status in found)


async def test_the_ids_stay_as_they_are_from_version_to_version(whole: Whole) -> None:
    ((event_id, _),) = await _published(whole, NAMELESS, "order 17")
    assert event_id == "evt_6fed44604b8df4373caa83615f3ec281"


async def test_a_key_used_for_another_event_after_a_day_is_a_conflict(whole: Whole) -> None:
    other: dict[str, Any] = {**NAMELESS, "test": True}
    await _published(whole, BATCH, "k1")
    await _forget_requests(whole)
    told = await whole.ask("POST", "/v1/events", json=other, headers={"Idempotency-Key": "k1"})
    assert (told.status, told.json["code"]) == (409, "CONFLICT")
    batch = {"events": [other, *BATCH["events"][1:]]}
    assert [status for _, status in await _published(whole, batch, "k1 again")] == ["accepted", "duplicate", "accepted"]
    await _forget_requests(whole)
    batch = {"events": [{**other, "test": False}, *BATCH["events"][1:]]}
    statuses = [status for _, status in await _published(whole, batch, "k1 again")]
    assert statuses == ["conflict", "duplicate", "duplicate"]


async def test_without_a_key_an_event_needs_an_id(whole: Whole) -> None:
    told = await whole.ask("POST", "/v1/events", json=NAMELESS)
    assert (told.status, told.json["errors"].keys()) == (400, {"id"})
    told = await whole.ask("POST", "/v1/events", json={**NAMELESS, "id": None}, headers={"Idempotency-Key": "k"})
    assert (told.status, told.json["errors"].keys()) == (400, {"id"})
