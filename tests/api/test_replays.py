"""``/v1/replays``: replay jobs, and an endpoint's recovery."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from service.adapters.postgres.endpoints.removal import remove_subscriptions
from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.engine import driver
from service.adapters.postgres.replays.steps import PostgresReplayStore
from service.core.deliveries.settlement import Accept, Bury
from service.core.endpoints.view import RemovalReason
from service.core.reason import Reason
from service.core.replays.job import IDS_MAX, LIVE_MAX, RATE_MAX
from tests.api.endpoints_rig import RULES, SECRET_BOX
from tests.api.entrance_rig import Told, sql
from tests.api.reads_rig import Reading, reading_on
from tests.fakes.actor import SOMEBODY

pytestmark = pytest.mark.clock

URL = "https://a.example/hook"
DEAD = Bury(Reason.ATTEMPTS_EXHAUSTED)
NOTHING = {"superseded": 0, "subscription_removed": 0, "event_dropped": 0}


@pytest.fixture
async def reading(database_url: str) -> AsyncIterator[Reading]:
    async with reading_on(database_url) as reading:
        await reading.administration.add_endpoint("org_1", URL, ["message.sent", "link.clicked"])
        yield reading


async def post(reading: Reading, path: str, body: object = None, **options: Any) -> Told:
    options |= {} if body is None else {"json": body}
    return await reading.ask(path, "POST", **options)


async def failed(reading: Reading, count: int, **changes: Any) -> list[dict[str, Any]]:
    """Events whose deliveries are dead; the deliveries, oldest first."""
    for number in range(count):
        await reading.event(f"evt_{number}", **changes)
    await reading.attempt(DEAD, status=503)
    found: list[dict[str, Any]] = (await reading.get("/v1/deliveries?state=dead"))["data"]
    return found[::-1]


async def work(reading: Reading, times: int = 8) -> None:
    """What a worker does; each time a second later."""
    store = PostgresReplayStore(reading.engine)
    for _ in range(times):
        await store.step("org_1", "")
        await sql(reading.engine, "UPDATE replay_jobs SET measured_at = measured_at - interval '1 second'")


async def test_a_job_from_its_creation_to_its_end(reading: Reading) -> None:
    deliveries = await failed(reading, 3)
    endpoint_id = deliveries[0]["endpoint_id"]
    told = await post(reading, "/v1/replays", {"endpoint_id": endpoint_id, "rate": 50})
    assert told.status == 202, told.body
    made = told.json
    assert made["id"].startswith("rpl_")
    assert made["created_at"]
    assert made | {"id": "", "created_at": ""} == {
        "id": "",
        "state": "pending",
        "reason": None,
        "endpoint_id": endpoint_id,
        "event_type": None,
        "ids_count": 0,
        "since": None,
        "until": None,
        "states": ["dead"],
        "rate": 50,
        "total_count": 0,
        "is_counted": False,
        "created_count": 0,
        "skipped": NOTHING,
        "open_count": 0,
        "created_by": reading.keys["org_1"].key_id,
        "created_at": "",
        "started_at": None,
        "ended_at": None,
    }
    await work(reading)
    done = await reading.get(f"/v1/replays/{made['id']}")
    assert (done["state"], done["total_count"], done["created_count"], done["open_count"]) == ("done", 3, 3, 3)
    sent = await reading.attempt(Accept())
    assert [each.event_id for each in sent] == ["evt_0", "evt_1", "evt_2"]
    assert [each.key.replay_number for each in sent] == [1, 1, 1]
    assert (await reading.get(f"/v1/replays/{made['id']}"))["open_count"] == 0
    assert [each["id"] for each in (await reading.get("/v1/replays"))["data"]] == [made["id"]]


async def test_a_dry_run_counts_and_stores_nothing(reading: Reading) -> None:
    deliveries = await failed(reading, 3)
    await reading.ask(f"/v1/deliveries/{deliveries[1]['id']}/replay", "POST")
    told = await post(reading, "/v1/replays", {"event_type": "message.sent", "dry_run": True})
    assert told.status == 200
    assert told.json == {
        "total_count": 3,
        "replayable_count": 2,
        "skipped": NOTHING | {"superseded": 1},
        "is_complete": True,
    }
    assert (await reading.get("/v1/replays"))["data"] == []


async def test_named_deliveries(reading: Reading) -> None:
    deliveries = await failed(reading, 4)
    ids = [deliveries[2]["id"], deliveries[0]["id"]]
    told = await post(reading, "/v1/replays", {"ids": ids})
    assert (told.status, told.json["ids_count"]) == (202, 2), told.body
    await work(reading)
    assert [each.event_id for each in await reading.attempt(Accept())] == ["evt_0", "evt_2"]


async def test_recovering_an_endpoint_replays_what_failed_since(reading: Reading) -> None:
    deliveries = await failed(reading, 3)
    path = f"/v1/endpoints/{deliveries[0]['endpoint_id']}/recover"
    since = (await reading.get("/v1/events/evt_1"))["received_at"]
    counted = await post(reading, path, {"since": since, "dry_run": True})
    assert (counted.status, counted.json["replayable_count"]) == (200, 2), counted.body
    told = await post(reading, path, {"since": since})
    assert (told.status, told.json["states"], told.json["since"]) == (202, ["dead", "cancelled"], since)
    await work(reading)
    assert [each.event_id for each in await reading.attempt(Accept())] == ["evt_1", "evt_2"]
    late = await post(reading, path, {"since": "2026-01-01T00:00:00Z", "dry_run": True})
    assert late.json == {
        "total_count": 3,
        "replayable_count": 1,
        "skipped": NOTHING | {"superseded": 2},
        "is_complete": True,
    }


async def test_one_request_resumes_an_endpoint_and_replays_what_it_missed(reading: Reading) -> None:
    endpoint_id = (await failed(reading, 2))[0]["endpoint_id"]
    endpoint, since = f"/v1/endpoints/{endpoint_id}", "2026-01-01T00:00:00Z"
    await post(reading, f"{endpoint}/pause")
    refused = await post(reading, f"{endpoint}/recover", {"since": since, "resume": True, "dry_run": True})
    assert (refused.status, list(refused.json["errors"])) == (400, ["resume"])
    await post(reading, f"{endpoint}/recover", {"since": since, "dry_run": True})
    assert (await reading.get(endpoint))["state"] == "paused", "it was not asked for"
    told = await post(reading, f"{endpoint}/recover", {"since": since, "resume": True})
    assert (told.status, told.json["endpoint_id"]) == (202, endpoint_id), told.body
    assert (await reading.get(endpoint))["state"] == "active"
    await work(reading)
    assert [each.event_id for each in await reading.attempt(Accept())] == ["evt_0", "evt_1"]


async def test_an_endpoint_that_is_gone_or_unknown_cannot_recover(reading: Reading) -> None:
    endpoint_id = (await failed(reading, 1))[0]["endpoint_id"]
    async with driver(reading.engine) as connection, connection.transaction():
        ids = [row["id"] for row in await connection.fetch("SELECT id FROM subscriptions")]
        await remove_subscriptions(connection, ids, because=RemovalReason.GONE)
    told = await post(reading, f"/v1/endpoints/{endpoint_id}/recover", {"since": "2026-01-01T00:00:00Z"})
    assert (told.status, told.json["code"]) == (409, "CONFLICT")
    for unknown in ("ep_unknown", "nonsense"):
        path = f"/v1/endpoints/{unknown}/recover"
        assert (await post(reading, path, {"since": "2026-01-01T00:00:00Z"})).status == 404
    assert (await post(reading, "/v1/replays", {"endpoint_id": "ep_unknown"})).status == 404


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {"endpoint_id": ["is required, or event_type or ids instead"]}),
        (
            {"ids": ["dlv_1"], "since": "2026-01-01T00:00:00Z"},
            {"since": ["must be left out when ids are given"], "ids[0]": ["is not a delivery's id"]},
        ),
        ({"ids": []}, None),
        ({"ids": ["x"] * (IDS_MAX + 1)}, None),
        ({"event_type": "message.*"}, None),
        ({"event_type": "message.sent", "states": ["pending"]}, None),
        ({"event_type": "message.sent", "states": ["lost"]}, None),
        ({"event_type": "message.sent", "states": []}, None),
        ({"event_type": "message.sent", "rate": 0}, None),
        ({"event_type": "message.sent", "rate": RATE_MAX + 1}, None),
        ({"event_type": "message.sent", "rate": "10"}, None),
        ({"event_type": "message.sent", "since": 1_700_000_000}, None),
        ({"event_type": "message.sent", "since": "2026-01-01T00:00:00"}, None),
        (
            {"event_type": "message.sent", "since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
            {"until": ["must be later than since"]},
        ),
        ({"event_type": "message.sent", "speed": 3}, {"speed": ["is not a known field"]}),
    ],
)
async def test_what_cannot_be_asked_for_names_the_field(
    reading: Reading, body: dict[str, Any], errors: dict[str, list[str]] | None
) -> None:
    told = await post(reading, "/v1/replays", body)
    assert (told.status, told.json["code"]) == (400, "VALIDATION_ERROR"), told.body
    if errors is not None:
        assert told.json["errors"] == errors
    else:
        [field] = told.json["errors"]
        assert field.partition("[")[0] in body
    assert (await reading.get("/v1/replays"))["data"] == []


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_time_at_the_end_of_times_is_taken(reading: Reading, at: str) -> None:
    endpoint_id = (await failed(reading, 1))[0]["endpoint_id"]
    for body in ({"since": at}, {"since": at, "dry_run": True}):
        told = await post(reading, f"/v1/endpoints/{endpoint_id}/recover", body)
        assert told.status in {200, 202}, told.body


async def test_a_recovery_needs_to_know_since_when(reading: Reading) -> None:
    endpoint_id = (await failed(reading, 1))[0]["endpoint_id"]
    told = await post(reading, f"/v1/endpoints/{endpoint_id}/recover", {})
    assert (told.status, told.json["errors"]) == (400, {"since": ["is required"]})


async def test_pause_resume_and_cancel(reading: Reading) -> None:
    await failed(reading, 1)
    path = f"/v1/replays/{(await post(reading, '/v1/replays', {'event_type': 'message.sent'})).json['id']}"
    for action, state in (
        ("pause", "paused"),
        ("pause", "paused"),
        ("resume", "pending"),
        ("resume", "pending"),
        ("cancel", "cancelled"),
        ("cancel", "cancelled"),
    ):
        told = await post(reading, f"{path}/{action}")
        assert (told.status, told.json["state"]) == (200, state)
    assert (await reading.get(path))["ended_at"]
    refused = await post(reading, f"{path}/resume")
    assert (refused.status, refused.json["error"]) == (409, "the replay is cancelled; it cannot resume any more")
    assert [each["state"] for each in (await reading.get("/v1/replays?state=cancelled"))["data"]] == ["cancelled"]
    assert (await reading.get("/v1/replays?state=done"))["data"] == []


async def test_too_many_unfinished_jobs_are_refused(reading: Reading) -> None:
    for _ in range(LIVE_MAX):
        assert (await post(reading, "/v1/replays", {"event_type": "message.sent"})).status == 202
    told = await post(reading, "/v1/replays", {"event_type": "message.sent"})
    assert (told.status, told.json["code"]) == (409, "CONFLICT")
    assert told.json["error"] == "limit of 5 unfinished replays reached; wait until one has ended, or cancel one"
    assert (await post(reading, "/v1/replays", {"event_type": "message.sent", "dry_run": True})).status == 200


async def test_pages(reading: Reading) -> None:
    made = [(await post(reading, "/v1/replays", {"event_type": "message.sent"})).json["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = await reading.get(f"/v1/replays?limit=2&cursor={cursor}".removesuffix("&cursor="))
        seen += [each["id"] for each in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = page["next_cursor"]
    assert seen == made[::-1]
    assert (await reading.ask("/v1/replays?cursor=WyJkbHYiXQ")).status == 400
    assert (await reading.ask("/v1/replays?state=lost")).status == 400


async def test_another_organizations_job_is_not_found(reading: Reading) -> None:
    job_id = (await post(reading, "/v1/replays", {"event_type": "message.sent"})).json["id"]
    for path in (f"/v1/replays/{job_id}", "/v1/replays/rpl_unknown", "/v1/replays/x%00", "/v1/replays/nonsense"):
        assert (await reading.ask(path, by="org_2")).status == 404
        for action in ("pause", "resume", "cancel"):
            assert (await post(reading, f"{path}/{action}", by="org_2")).status == 404
    assert (await reading.get("/v1/replays", by="org_2"))["data"] == []
    assert (await reading.get(f"/v1/replays/{job_id}"))["state"] == "pending"
    assert (await post(reading, "/v1/replays", {"event_type": "message.sent"}, by="reader")).status == 403
    assert (await post(reading, f"/v1/replays/{job_id}/cancel", by="reader")).status == 403
    assert (await reading.ask(f"/v1/replays/{job_id}", by="reader")).status == 200


async def test_a_request_that_names_itself_makes_one_job(reading: Reading) -> None:
    await failed(reading, 1)
    named = {"Idempotency-Key": "k"}
    told = [await post(reading, "/v1/replays", {"event_type": "message.sent"}, headers=named) for _ in range(2)]
    assert told[0].json == told[1].json
    assert told[1].headers["Idempotency-Replayed"] == "true"
    other = await post(reading, "/v1/replays", {"event_type": "link.clicked"}, headers=named)
    assert other.status == 422
    assert len((await reading.get("/v1/replays"))["data"]) == 1


async def test_a_delivery_that_was_cancelled_by_a_410_of_the_url_before_is_recovered(reading: Reading) -> None:
    """The endpoint has moved, so its subscription is active; the delivery was cancelled all the same."""
    endpoint_id = (await failed(reading, 2))[0]["endpoint_id"]
    await sql(
        reading.engine, "UPDATE final_deliveries SET state = 'cancelled', reason = 'gone' WHERE event_id = 'evt_1'"
    )
    since = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    told = await post(reading, f"/v1/endpoints/{endpoint_id}/recover", {"since": since})
    assert told.status == 202, told.body
    await work(reading)
    assert [each.event_id for each in await reading.attempt(Accept())] == ["evt_0", "evt_1"]


async def test_what_went_to_a_removed_endpoint_is_counted_as_skipped(reading: Reading) -> None:
    endpoint_id = (await failed(reading, 2))[0]["endpoint_id"]
    await EndpointStore(reading.engine, SECRET_BOX, RULES).remove("org_1", endpoint_id, by=SOMEBODY)
    told = await post(reading, "/v1/replays", {"event_type": "message.sent", "dry_run": True})
    assert told.json["skipped"] == NOTHING | {"subscription_removed": 2}
