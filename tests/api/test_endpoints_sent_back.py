"""An endpoint's answer can be sent back; metadata changes by key; and RFC 7396 where it is asked for."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.endpoints_rig import URL, Town, town_on
from tests.api.entrance_rig import sql
from tests.api.test_endpoints import EVERYTHING

MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with town_on(database_url) as town:
        yield town


async def stored_headers(town: Town, endpoint_id: str) -> str:
    sealed: str = await sql(town.engine, "SELECT sealed_headers FROM endpoints WHERE id = $1", endpoint_id)
    return sealed


async def test_what_get_shows_can_be_sent_back_and_changes_nothing(town: Town) -> None:
    made = await town.create(**EVERYTHING)
    shown, sealed = await town.get(made["id"]), await stored_headers(town, made["id"])
    told = await town.ask("PATCH", f"/v1/endpoints/{made['id']}", shown)
    assert told.status == 200, told.body
    assert await town.get(made["id"]) == shown
    assert await stored_headers(town, made["id"]) == sealed  # not even sealed anew
    assert await sql(town.engine, "SELECT count(*) FROM audit_log WHERE operation = 'endpoint.update'") == 0


async def test_an_answer_of_patch_can_be_sent_back_with_one_edit(town: Town) -> None:
    made = await town.create(**EVERYTHING)
    path = f"/v1/endpoints/{made['id']}"
    first = (await town.ask("PATCH", path, {"description": "first"})).json
    told = await town.ask("PATCH", path, {**first, "description": "second"})
    assert (told.status, told.json["description"], told.json["metadata"]) == (200, "second", {"team": "crm"})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("id", "ep_other", "read-only"),
        ("state", "paused", "POST …/pause"),
        ("state", "asleep", "POST …/pause"),
        ("gates", [{"kind": "paused", "reason": "x", "since": None, "in_effect_at": None, "until": None}], "/resume"),
        ("secrets", [], "rotate-secret"),
        ("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "rotate-secret"),
        ("verified_at", "2026-01-01T00:00:00Z", "verify"),
        ("auth_expires_at", "2027-01-01T00:00:00Z", "certificate"),
        ("created_at", "2026-01-01T00:00:00Z", "read-only"),
        ("updated_at", "2026-01-01T00:00:00Z", "read the endpoint again"),
    ],
)
async def test_a_read_only_field_that_was_changed_is_refused_by_name(
    town: Town, name: str, value: object, says: str
) -> None:
    made = await town.create()
    shown = await town.get(made["id"])
    errors = await town.refused("PATCH", f"/v1/endpoints/{made['id']}", {**shown, name: value, "timeout_seconds": -1})
    assert errors.keys() == {name, "timeout_seconds"}  # all at once
    assert says in errors[name][0]


async def test_health_and_gates_that_move_by_themselves_stop_nobody(town: Town) -> None:
    made = await town.create()
    shown = await town.get(made["id"])
    shown["health"] |= {"status": "failing", "consecutive_failures": 7}
    shown["gates"] = [{"kind": "breaker", "reason": "x", "since": None, "in_effect_at": None, "until": None}]
    told = await town.ask("PATCH", f"/v1/endpoints/{made['id']}", {**shown, "description": "new"})
    assert (told.status, told.json["description"]) == (200, "new")


async def test_the_schedule_says_retry_in_numbers_and_stops_nobody_who_changes_that(town: Town) -> None:
    made = await town.create(retry=[4, 16, 64])
    assert made["schedule"] == {"attempts_max": 4, "delays_seconds": [4.0, 16.0, 64.0]}
    told = await town.ask("PATCH", f"/v1/endpoints/{made['id']}", {**await town.get(made["id"]), "retry": None})
    assert told.status == 200, told.body
    assert (told.json["retry"], told.json["schedule"]["attempts_max"]) == (None, 12), "the service's own"
    listed = (await town.ask("GET", "/v1/endpoints")).json["data"][0]
    assert listed["schedule"] == (await town.get(made["id"]))["schedule"] == told.json["schedule"]


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_what_cannot_be_decrypted_stays_when_it_is_sent_back(town: Town, method: str) -> None:
    made = await town.create(headers={"X-Key": "1"})
    await sql(town.engine, "UPDATE endpoints SET sealed_headers = 'v1:none:AAAA' RETURNING 1")
    shown = await town.get(made["id"])
    assert shown["headers"] is None
    path = f"/v1/endpoints/{made['id']}" if method == "PATCH" else "/v1/endpoints"
    told = await town.ask(method, path, {**shown, "description": "new"})
    assert told.status == 200, told.body
    assert told.json["description"] == "new"
    assert await stored_headers(town, made["id"]) == "v1:none:AAAA"
    told = await town.ask("PATCH", f"/v1/endpoints/{made['id']}", {"headers": None})  # asked for, it goes
    assert told.json["headers"] == {}


async def test_metadata_changes_by_key(town: Town) -> None:
    made = await town.create(metadata={"team": "crm", "tier": "gold"})
    path = f"/v1/endpoints/{made['id']}"
    told = await town.ask("PATCH", path, {"metadata": {"tier": None, "region": "eu", "none": None}})
    assert told.json["metadata"] == {"team": "crm", "region": "eu"}
    many = {f"key-{number}": "v" for number in range(49)}
    assert await town.refused("PATCH", path, {"metadata": many}) == {"metadata": ["must have at most 50 entries"]}
    told = await town.ask("PATCH", path, {"metadata": None})
    assert told.json["metadata"] == {}


async def test_a_merge_patch_changes_every_object_by_key(town: Town) -> None:
    made = await town.create(**EVERYTHING)
    path = f"/v1/endpoints/{made['id']}"
    patch: dict[str, Any] = {
        "headers": {"x-team": None, "X-New": "2"},
        "auth": {"scope": None},
        "filter": {"match": {"data.message.segments": None, "data.message.protocol": {"in": ["sms"]}}},
        "metadata": {"tier": "gold"},
        "retry": None,
    }
    told = await town.ask("PATCH", path, patch, **MERGE_PATCH)
    assert told.status == 200, told.body
    shown = told.json
    assert shown["headers"] == {"X-Api-Key": "***", "X-New": "***"}
    assert (shown["auth"]["scope"], shown["auth"]["client_id"]) == (None, "posthorn")
    assert shown["filter"] == {
        "scope": {"campaign_id": ["camp_A"]},
        "match": {"data.message.protocol": {"in": ["sms"]}},
    }
    assert shown["metadata"] == {"team": "crm", "tier": "gold"}
    assert (shown["retry"], shown["timeout_seconds"]) == (None, 10)
    # As JSON, the same replaces objects as a whole, and null is no value of a header.
    assert await town.refused("PATCH", path, {"headers": {"X-Team": None}}) == {"headers.X-Team": ["must be text"]}
    assert (await town.ask("PATCH", path, {"headers": {"X-Only": "1"}})).json["headers"] == {"X-Only": "***"}
    told = await town.ask("POST", "/v1/endpoints", {"url": URL, "event_types": ["*"]}, **MERGE_PATCH)
    assert told.status == 415
