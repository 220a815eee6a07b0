"""``valid_until`` over ``/v1`` and ``/api/v2``: set, moved, and what is left of an endpoint that has expired."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.adapters.postgres.endpoints.expiry import PostgresExpiryStore
from service.adapters.postgres.endpoints.resthooks import ResthookReader
from service.adapters.postgres.endpoints.store import EndpointStore
from service.core.timestamp import format_timestamp
from service.core.walk import Walk
from tests.api.endpoints_rig import RULES, SECRET_BOX, URL, Town, town_on
from tests.api.entrance_rig import sql
from tests.api.test_endpoints import OTHERS, body_of, waiting
from tests.fakes.actor import SOMEBODY

LATER = "2999-01-31T12:00:00.000000Z"
MUCH_LATER = "2999-12-31T12:00:00.000000Z"


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with town_on(database_url) as town:
        yield town


async def expire(town: Town, *, is_swept: bool) -> None:
    """All that have an end have come to it; upkeep has ended them, or is late."""
    await sql(town.engine, "UPDATE endpoints SET valid_until = now() - interval '1 s' WHERE valid_until IS NOT NULL")
    if is_swept:
        assert await sweep(town)


async def sweep(town: Town) -> bool:
    """Whether there were any to end."""
    store = PostgresExpiryStore(town.engine)
    over = await store.over(10, ())
    return any([await store.end(owner, endpoint_ids) for owner, endpoint_ids in over.items()])


async def test_it_is_set_shown_moved_and_lifted(town: Town) -> None:
    made = await town.create(valid_until="2999-01-31T13:00:00+01:00")
    path = f"/v1/endpoints/{made['id']}"
    assert made["valid_until"] == LATER
    moved = await town.ask("PATCH", path, {"valid_until": MUCH_LATER})
    assert (moved.status, moved.json["valid_until"]) == (200, MUCH_LATER)
    lifted = await town.ask("PATCH", path, {"valid_until": None})
    assert (lifted.status, lifted.json["valid_until"]) == (200, None)
    put = await town.ask("PUT", "/v1/endpoints", {"url": URL, "event_types": ["*"], "valid_until": LATER})
    assert (put.status, put.json["id"], put.json["valid_until"]) == (200, made["id"], LATER)
    put = await town.ask("PUT", "/v1/endpoints", {"url": URL, "event_types": ["*"]})
    assert put.json["valid_until"] is None, "PUT restores what it leaves out"


async def test_an_answer_can_be_sent_back_though_its_end_is_near(town: Town) -> None:
    soon = format_timestamp(datetime.now(UTC) + timedelta(hours=1))
    made = await town.create(valid_until=soon)
    told = await town.ask("GET", f"/v1/endpoints/{made['id']}")
    etag = told.headers["ETag"]
    echoed = await town.ask(
        "PATCH", f"/v1/endpoints/{made['id']}", told.json | {"description": "CRM"}, **{"If-Match": etag}
    )
    assert (echoed.status, echoed.json["valid_until"]) == (200, soon)
    assert echoed.headers["ETag"] != etag


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("2001-01-01T00:00:00Z", "must be in the future"),
        ("2999-01-01T00:00:00", "must be a date-time with an offset"),
        ("never", "must be a date-time with an offset"),
        (4102444800, "must be a date-time with an offset"),
        ({}, "must be a date-time with an offset"),
    ],
)
async def test_what_is_no_time_to_come_is_refused_everywhere(town: Town, given: Any, part: str) -> None:
    made = await town.create("https://hooks.example.com/other")
    body = {"url": URL, "event_types": ["*"], "valid_until": given}
    for method, path in (("POST", "/v1/endpoints"), ("PUT", "/v1/endpoints"), ("PATCH", f"/v1/endpoints/{made['id']}")):
        errors = await town.refused(method, path, body)
        assert set(errors) == {"valid_until"}
        assert errors["valid_until"][0].startswith(part), errors


async def test_times_at_the_end_of_all_calendars_are_moved_inside(town: Town) -> None:
    made = await town.create(valid_until="9999-12-31T23:59:59-12:00")
    assert made["valid_until"] == "9999-01-01T00:00:00.000000Z"


@pytest.mark.parametrize("is_swept", [True, False])
async def test_an_expired_endpoint_is_shown_until_it_is_deleted_and_takes_no_changes(
    town: Town,
    is_swept: bool,  # noqa: FBT001
) -> None:
    made = await town.create(valid_until=LATER)
    path = f"/v1/endpoints/{made['id']}"
    assert (await town.ask("POST", f"{path}/test", {})).status == 202
    await expire(town, is_swept=is_swept)
    found = await town.get(made["id"])
    assert (found["state"], found["event_types"]) == ("expired", ["message.sent"])
    assert await waiting(town, made["id"]) == ["cancelled" if is_swept else "pending"]
    assert (await town.ids(), await town.ids("?state=active"), await town.ids("?state=gone")) == ([], [], [])
    assert await town.ids("?state=expired") == [made["id"]]
    for method, action in OTHERS:
        told = await town.ask(method, path + action, body_of(method))
        assert told.status == (200 if method == "GET" else 409)
        assert method == "GET" or "this endpoint has expired: its valid_until was " in told.json["error"]
    revived = await town.ask("PATCH", path, {"valid_until": MUCH_LATER})
    assert revived.status == 409, "what has ended stays so"
    assert (await town.ask("DELETE", path)).status == 204
    assert (await town.ask("GET", path)).status == 404
    assert await town.ids("?state=expired") == []


@pytest.mark.parametrize("is_swept", [True, False])
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_its_url_can_be_registered_anew(town: Town, method: str, is_swept: bool) -> None:  # noqa: FBT001
    made = await town.create(valid_until=LATER)
    await expire(town, is_swept=is_swept)
    again = await town.ask(method, "/v1/endpoints", {"url": URL, "event_types": ["message.sent"]})
    assert (again.status, again.json["state"]) == (201, "active")
    assert again.json["id"] != made["id"]
    assert await town.ids() == [again.json["id"]]
    assert await town.ids("?state=active,expired") == [again.json["id"], made["id"]]


async def test_another_endpoint_can_move_to_its_url(town: Town) -> None:
    await town.create(valid_until=LATER)
    other = await town.create("https://hooks.example.com/other")
    await expire(town, is_swept=False)
    moved = await town.ask("PATCH", f"/v1/endpoints/{other['id']}", {"url": URL})
    assert (moved.status, moved.json["url"]) == (200, URL)


@pytest.mark.parametrize("is_swept", [True, False])
async def test_its_subscriptions_vanish_from_the_other_surface(town: Town, is_swept: bool) -> None:  # noqa: FBT001
    await town.create(valid_until=LATER)
    resthooks, store = ResthookReader(town.engine, SECRET_BOX), EndpointStore(town.engine, SECRET_BOX, RULES)
    (subscriber,) = await resthooks.list_subscribers("org_1", Walk(10))
    await expire(town, is_swept=is_swept)
    assert await resthooks.list_subscribers("org_1", Walk(10)) == []
    assert await store.unsubscribe("org_1", subscriber.id, by=SOMEBODY) is False


async def test_its_end_is_entered_in_the_audit_log_once(town: Town) -> None:
    made = await town.create(valid_until=LATER)
    await expire(town, is_swept=True)
    assert not await sweep(town)
    found = await sql(
        town.engine,
        """SELECT array_agg(concat_ws(' ', actor_kind, object_id, after->>'state')) FROM audit_log
            WHERE operation = 'endpoint.expire'""",
    )
    assert found == [f"posthorn {made['id']} expired"]
