"""``/v1/endpoints``: made, found, changed, ended."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any

import pytest
from pydantic import BaseModel

from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.engine import driver
from service.api.v1.endpoints.answers import EndpointShown
from service.api.v1.endpoints.bodies import EndpointPatch, NewEndpoint
from service.core.endpoints.directory import BEGINNING, DirectoryPage
from service.core.endpoints.retry_schedule import STANDARD
from service.core.endpoints.settings import EndpointSettings
from tests.api.endpoints_rig import URL, Town, end_by_410, town_on
from tests.api.entrance_rig import sql

FILTER = {"scope": {"campaign_id": ["camp_A"]}, "match": {"data.message.segments": {"gte": 2}}}
EVERYTHING: dict[str, Any] = {
    "description": "CRM",
    "headers": {"X-Api-Key": "open-sesame", "X-Team": "crm"},
    "auth": {
        "type": "oauth2",
        "token_url": "https://auth.example.com/token",
        "client_id": "posthorn",
        "client_secret": "hunter2",
        "scope": "hooks",
    },
    "signature_style": "t-v1",
    "signature_header": "X-Blooio-Signature",
    "filter": FILTER,
    "retry": [4, 16, 64],
    "timeout_seconds": 10,
    "rate_limit_per_second": 2.5,
    "max_in_flight": 1,
    "order_by": "data.contact.id",
    "order_wait_seconds": 60,
    "metadata": {"team": "crm"},
    "valid_until": "2999-01-31T12:00:00.000000Z",
}


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with town_on(database_url) as town:
        yield town


async def directory(town: Town) -> DirectoryPage:
    (found,) = await PostgresSubscriptionStore(town.engine).load({"org_1": BEGINNING}, endpoints_max=100)
    return found


async def waiting(town: Town, endpoint_id: str) -> list[str]:
    """The states of its deliveries."""
    async with driver(town.engine) as connection:
        rows = await connection.fetch("SELECT state FROM deliveries WHERE endpoint_id = $1 ORDER BY 1", endpoint_id)
    return [row["state"] for row in rows]


# --------------------------------------------------------------------------- create


async def test_a_new_endpoint_is_shown_whole_and_its_secret_once(town: Town) -> None:
    made = await town.create(event_types=["message.*", "link.clicked", "message.*"])
    secret = made.pop("secret")
    assert made.pop("public_key") is None
    assert made == await town.get(made["id"])
    assert secret.startswith("whsec_")
    assert made["secrets"][0]["hint"] == secret[-4:]
    assert {name: made[name] for name in made if name not in {"id", "created_at", "updated_at", "secrets"}} == {
        "url": URL,
        "event_types": ["message.*", "link.clicked"],
        "description": "",
        "headers": {},
        "auth": None,
        "auth_expires_at": None,
        "signature_style": "standard",
        "signature_header": None,
        "filter": None,
        "retry": None,
        "schedule": {"attempts_max": 12, "delays_seconds": list(STANDARD.planned_delays_seconds())},
        "timeout_seconds": None,
        "rate_limit_per_second": None,
        "max_in_flight": None,
        "order_by": None,
        "order_wait_seconds": None,
        "metadata": {},
        "valid_until": None,
        "state": "active",
        "gates": [],
        "health": {
            "status": "idle",
            "consecutive_failures": 0,
            "last_success_at": None,
            "last_failure_at": None,
            "last_failure_reason": None,
            "last_failure_status": None,
        },
        "verified_at": None,
    }


async def test_everything_that_is_asked_for_is_kept(town: Town) -> None:
    made = await town.create(**EVERYTHING)
    found = await town.get(made["id"])
    hidden = dict.fromkeys(made["auth"]) | EVERYTHING["auth"] | {"client_secret": "***"}
    expected = EVERYTHING | {"headers": {"X-Api-Key": "***", "X-Team": "***"}, "auth": hidden}
    assert {name: found[name] for name in expected} == expected


async def test_the_same_url_again_changes_nothing_and_shows_no_secret(town: Town) -> None:
    made = await town.create(description="first")
    same = {"url": URL, "event_types": ["message.sent"], "description": "first"}
    again = await town.ask("POST", "/v1/endpoints", same)
    del made["secret"], made["public_key"]
    assert (again.status, again.json) == (200, made)
    assert (await town.create(by="org_2"))["id"] != made["id"]


async def test_an_own_secret_is_taken(town: Town) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert (await town.create(secret=secret))["secret"] == secret


async def test_two_at_the_same_time_make_one_endpoint(town: Town) -> None:
    body = {"url": URL, "event_types": ["message.sent"]}
    told = await asyncio.gather(*(town.ask("POST", "/v1/endpoints", body) for _ in range(5)))
    assert sorted(each.status for each in told) == [200, 200, 200, 200, 201]
    assert len({each.json["id"] for each in told}) == 1
    assert await sql(town.engine, "SELECT count(*) FROM endpoint_secrets") == 1


async def test_a_replayed_create_shows_the_secret_again(town: Town) -> None:
    body = {"url": URL, "event_types": ["message.sent"]}
    named = {"Idempotency-Key": "once"}
    first = await town.ask("POST", "/v1/endpoints", body, **named)
    second = await town.ask("POST", "/v1/endpoints", body, **named)
    assert (first.status, second.status) == (201, 201)
    assert second.json == first.json


async def test_own_event_types_can_be_subscribed_to_by_their_organization(town: Town) -> None:
    async with driver(town.engine) as connection:
        await connection.execute(
            "INSERT INTO event_types (organization_id, name, description, schema) VALUES ('org_1', 'vote.cast', '', '{}')"
        )
    assert (await town.create(event_types=["vote.cast", "vote.*"]))["event_types"] == ["vote.cast", "vote.*"]
    told = await town.ask("POST", "/v1/endpoints", {"url": URL, "event_types": ["vote.cast"]}, by="org_2")
    assert list(told.json["errors"]) == ["event_types[0]"]


# --------------------------------------------------------------------------- list


async def test_a_list_is_newest_first_by_pages_and_of_one_organization(town: Town) -> None:
    ids = [(await town.create(f"{URL}{number}"))["id"] for number in range(5)]
    await town.create(by="org_2")
    assert await town.ids() == ids[::-1]
    seen: list[str] = []
    query = "?limit=2"
    while query:
        page = (await town.ask("GET", f"/v1/endpoints{query}")).json
        seen += [each["id"] for each in page["data"]]
        assert page["has_more"] is (page["next_cursor"] is not None)
        query = f"?limit=2&cursor={page['next_cursor']}" if page["has_more"] else ""
    assert seen == ids[::-1]


async def test_a_list_is_filtered_by_url_and_by_state(town: Town) -> None:
    active, paused, deleted, gone = [(await town.create(f"{URL}{number}"))["id"] for number in range(4)]
    await town.ask("POST", f"/v1/endpoints/{paused}/pause")
    await town.ask("DELETE", f"/v1/endpoints/{deleted}")
    await end_by_410(town, gone)
    assert await town.ids() == [paused, active]
    for state, expected in {"active": [active], "paused": [paused], "gone": [gone], "disabled": []}.items():
        assert await town.ids(f"?state={state}") == expected
    assert await town.ids(f"?url={URL}0") == [active]
    assert await town.ids(f"?url={URL}2") == []
    assert await town.ids(f"?url={URL}3") == [], "one that is gone may be registered again"
    assert await town.ids(f"?url={URL}") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("state=broken", "state"),
        ("url=%00", "url"),
        ("cursor=x", "cursor"),
        ("cursor=WzFd", "cursor"),  # [1]
        ("cursor=WzksImVwX1x1MDAwMCJd", "cursor"),  # [9,"ep_\u0000"]
        ("cursor=Wzk5OTk5OTk5OTk5OTk5OTk5OTksImVwXzEiXQ", "cursor"),  # [9999999999999999999,"ep_1"]
        ("cursor=Wzk5OTk5OTk5OTk5OTk5OTk5OSwiZXBfMSJd", "cursor"),  # [999999999999999999,"ep_1"]
        ("nonsense=1", "nonsense"),
    ],
)
async def test_a_bad_query_names_its_parameter(town: Town, query: str, field: str) -> None:
    told = await town.ask("GET", f"/v1/endpoints?{query}")
    assert (told.status, list(told.json["errors"])) == (400, [field])


# --------------------------------------------------------------------------- change


async def test_only_what_is_given_changes(town: Town) -> None:
    made = await town.create(**EVERYTHING)
    told = await town.ask("PATCH", f"/v1/endpoints/{made['id']}", {"description": "new", "timeout_seconds": None})
    changed = await town.get(made["id"])
    assert (told.status, told.json) == (200, changed | {"secret": None, "public_key": None})
    kept = set(made) - {"secret", "public_key", "description", "timeout_seconds", "updated_at"}
    assert {name: changed[name] for name in kept} == {name: made[name] for name in kept}
    assert (changed["description"], changed["timeout_seconds"]) == ("new", None)
    assert changed["updated_at"] > made["updated_at"]


async def test_null_is_the_default(town: Town) -> None:
    made = await town.create(**EVERYTHING)
    plain = await town.create(f"{URL}/plain")
    await town.ask("PATCH", f"/v1/endpoints/{made['id']}", dict.fromkeys(EVERYTHING))
    found = await town.get(made["id"])
    assert {name: found[name] for name in EVERYTHING} == {name: plain[name] for name in EVERYTHING}


async def test_a_hidden_value_keeps_the_header_and_a_style_drops_the_signature_header(town: Town) -> None:
    made = await town.create(**EVERYTHING)
    body = {"headers": {"x-api-key": "***", "X-New": "1"}, "signature_style": "sha256-body"}
    told = await town.ask("PATCH", f"/v1/endpoints/{made['id']}", body)
    assert told.json["headers"] == {"x-api-key": "***", "X-New": "***"}
    assert (told.json["signature_style"], told.json["signature_header"]) == ("sha256-body", None)
    (secret,), (before,) = told.json["secrets"], made["secrets"]
    assert secret == before | {"signature_style": "sha256-body"}
    again = await town.ask("PATCH", f"/v1/endpoints/{made['id']}", {"headers": {"X-Other": "***"}})
    assert list(again.json["errors"]) == ["headers.X-Other"]


async def test_event_types_are_replaced_by_what_differs(town: Town) -> None:
    made = await town.create(event_types=["message.sent", "link.clicked"])
    path = f"/v1/endpoints/{made['id']}"
    for event_type in ("message.sent", "link.clicked"):
        assert (await town.ask("POST", f"{path}/test", {"event_type": event_type})).status == 202
    (before,) = (await directory(town)).endpoints
    told = await town.ask("PATCH", path, {"event_types": ["message.replied", "link.clicked"]})
    assert told.json["event_types"] == ["link.clicked", "message.replied"]
    (after,) = (await directory(town)).endpoints
    kept = [each for each in before.subscriptions if each[1] == "link.clicked"]
    assert [each for each in after.subscriptions if each[1] == "link.clicked"] == kept
    assert await waiting(town, made["id"]) == ["cancelled", "pending"]
    assert await sql(town.engine, "SELECT reason FROM final_deliveries") == "subscription_deleted"
    assert await sql(town.engine, "SELECT removed_because FROM subscriptions WHERE removed_at IS NOT NULL") == "deleted"


async def test_all_event_types_at_once_can_be_others(town: Town) -> None:
    made = await town.create(event_types=["message.sent"])
    told = await town.ask("PATCH", f"/v1/endpoints/{made['id']}", {"event_types": ["*"]})
    assert (told.status, told.json["state"], told.json["event_types"]) == (200, "active", ["*"])


async def test_a_changed_url_keeps_id_and_secrets_and_takes_the_subscriptions_along(town: Town) -> None:
    made = await town.create()
    path, moved_to = f"/v1/endpoints/{made['id']}", f"{URL}/new"
    async with driver(town.engine) as connection:
        await connection.execute("INSERT INTO gates VALUES ($1, 'retry_after', 'infinity')", made["id"])
    told = await town.ask("PATCH", path, {"url": moved_to})
    assert (told.json["url"], told.json["id"], told.json["secrets"]) == (moved_to, made["id"], made["secrets"])
    assert await sql(town.engine, "SELECT target_url FROM subscriptions") == moved_to
    assert await sql(town.engine, "SELECT count(*) FROM gates") == 0
    other = await town.create()
    conflict = await town.ask("PATCH", path, {"url": URL})
    assert (conflict.status, conflict.json["code"]) == (409, "CONFLICT")
    assert other["id"] in conflict.json["errors"]["url"][0]
    assert (await town.get(made["id"]))["url"] == moved_to


async def test_changes_at_the_same_time_all_hold(town: Town) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}"
    changes: list[dict[str, Any]] = [
        {"description": "new"},
        {"metadata": {"a": "b"}},
        {"event_types": ["link.clicked"]},
        {"timeout_seconds": 3},
        {"rate_limit_per_second": 30},
        {"max_in_flight": 1},
        {"order_by": "data.message.id"},
        {"order_wait_seconds": 1},
        {"retry": "politicalcomms"},
        {"headers": {"X-A": "b"}},
    ]
    told = await asyncio.gather(*(town.ask("PATCH", path, each) for each in changes))
    assert {each.status for each in told} == {200}
    found = await town.get(made["id"])
    for change in changes:
        assert {name: found[name] for name in change} == change | (
            {"headers": {"X-A": "***"}} if "headers" in change else {}
        )


async def test_two_moves_to_one_url_leave_one_there(town: Town) -> None:
    ids = [(await town.create(f"{URL}{number}"))["id"] for number in range(2)]
    told = await asyncio.gather(*(town.ask("PATCH", f"/v1/endpoints/{each}", {"url": URL}) for each in ids))
    assert sorted(each.status for each in told) == [200, 409]


async def test_every_change_is_a_new_version_of_the_directory(town: Town) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}"
    versions = [(await directory(town)).version]
    for method, action, body in (
        ("PATCH", "", {"filter": FILTER}),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
        ("POST", "/rotate-secret", {}),
        ("DELETE", "", None),
    ):
        assert (await town.ask(method, path + action, body)).status in {200, 204}
        versions.append((await directory(town)).version)
    assert versions == sorted(set(versions))


# --------------------------------------------------------------------------- end


async def test_a_deleted_endpoint_is_not_there_and_what_waits_for_it_is_cancelled(town: Town) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}"
    await town.ask("POST", f"{path}/test", {})
    told = [await town.ask("DELETE", path) for _ in range(2)]
    assert [(each.status, each.body) for each in told] == [(204, b"")] * 2
    assert await waiting(town, made["id"]) == ["cancelled"]
    for method, action in OTHERS:
        assert (await town.ask(method, path + action, body_of(method))).status == 404
    assert (await town.create())["id"] != made["id"]


async def test_a_gone_endpoint_is_shown_until_it_is_deleted_and_takes_no_changes(town: Town) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}"
    await end_by_410(town, made["id"])
    found = await town.get(made["id"])
    assert (found["state"], found["event_types"]) == ("gone", ["message.sent"])
    for method, action in OTHERS:
        expected = 200 if method == "GET" else 409
        assert (await town.ask(method, path + action, body_of(method))).status == expected
    assert (await town.ask("DELETE", path)).status == 204
    assert (await town.ask("GET", path)).status == 404
    assert await town.ids() == []


OTHERS = (
    ("GET", ""),
    ("GET", "/stats"),
    ("PATCH", ""),
    ("POST", "/pause"),
    ("POST", "/resume"),
    ("POST", "/rotate-secret"),
    ("POST", "/test"),
)


def body_of(method: str) -> dict[str, Any] | None:
    return None if method in {"GET", "DELETE"} else {}


@pytest.mark.parametrize(("method", "action"), [*OTHERS, ("DELETE", "")])
async def test_an_id_of_somebody_else_or_of_nobody_is_404(town: Town, method: str, action: str) -> None:
    made = await town.create()
    for endpoint_id in (made["id"], "ep_nobody", "x", "ep_%00", "ep_%F0%9F%92%A9", "ep_%ED%A0%80", "ep_" + "a" * 5000):
        told = await town.ask(method, f"/v1/endpoints/{endpoint_id}{action}", body_of(method), by="org_2")
        assert (told.status, told.json["code"]) == (404, "NOT_FOUND"), endpoint_id
    assert (await town.get(made["id"]))["updated_at"] == made["updated_at"]


@pytest.mark.parametrize("model", [NewEndpoint, EndpointPatch, EndpointShown])
def test_every_setting_of_an_endpoint_is_asked_for_and_shown(model: type[BaseModel]) -> None:
    assert {each.name for each in fields(EndpointSettings)} <= model.model_fields.keys()
