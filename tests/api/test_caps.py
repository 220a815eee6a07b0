"""What one organization may have of each thing: no more, however many ask at once; and what it has, it keeps."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.api.entrance_rig import Told, sql
from tests.api.whole_rig import OWNER, SETTINGS, STRANGER, SUBSCRIBERS, Whole, whole_on

pytestmark = pytest.mark.clock

AT_ONCE = 12
SCHEMA = {"type": "object"}


@asynccontextmanager
async def capped(database_url: str, **caps: int) -> AsyncIterator[Whole]:
    """The application with these caps, and no others."""
    names = ("endpoints", "subscriptions", "event_types", "secrets")
    settings = {f"POSTHORN_MAX_{name.upper()}": str(caps.get(name, 0)) for name in names}
    async with whole_on(database_url, settings={**SETTINGS, **settings}) as whole:
        yield whole
        assert not whole.troubles.heard


async def add(whole: Whole, number: int, *event_types: str, by: str = OWNER) -> Told:
    body = {"url": f"https://hooks.example/{number}", "event_types": event_types or ("message.sent",)}
    return await whole.ask("POST", "/v1/endpoints", by=by, json=body)


def refused(told: Told, field: str, what: str) -> None:
    assert (told.status, told.json["code"]) == (409, "CONFLICT"), told.body
    assert what in told.json["error"]
    assert told.json["errors"] == {field: [told.json["error"]]}


async def many(*requests: Any) -> tuple[list[Told], list[Told]]:
    """Those that were granted, and those that were not."""
    told = await asyncio.gather(*requests)
    return [each for each in told if each.status < 400], [each for each in told if each.status >= 400]


async def test_endpoints_are_capped_however_many_come_at_once(database_url: str) -> None:
    async with capped(database_url, endpoints=5) as whole:
        made, others = await many(*(add(whole, number) for number in range(AT_ONCE)))
        assert len(made) == 5
        for each in others:
            refused(each, "url", "an organization can have 5 endpoints at most: remove some")
        count = await sql(whole.engine, "SELECT count(*) FROM endpoints WHERE organization_id = $1", OWNER)
        assert count == 5
        known = made[0].json
        again = await whole.ask("POST", "/v1/endpoints", json={"url": known["url"], "event_types": ["message.sent"]})
        assert (again.status, again.json["id"]) == (200, known["id"])
        assert (await add(whole, 0, by=STRANGER)).status == 201
        assert (await whole.ask("DELETE", f"/v1/endpoints/{known['id']}")).status == 204
        assert (await add(whole, 100)).status == 201
        refused(await add(whole, 101), "url", "5 endpoints")


async def test_subscriptions_are_capped_however_they_are_added(database_url: str) -> None:
    async with capped(database_url, subscriptions=6) as whole:
        made, others = await many(*(add(whole, each, "message.sent", "link.clicked") for each in range(AT_ONCE)))
        assert len(made) == 3
        for each in others:
            refused(each, "event_types", "6 subscriptions")
        path = f"/v1/endpoints/{made[0].json['id']}"
        more = {"event_types": ["message.sent", "link.clicked", "message.failed"]}
        refused(await whole.ask("PATCH", path, json=more), "event_types", "6 subscriptions")
        others_instead = {"event_types": ["message.failed", "message.replied"]}
        assert (await whole.ask("PATCH", path, json=others_instead)).status == 200
        assert (await whole.ask("PATCH", path, json={"event_types": ["message.sent"]})).status == 200
        wanting = [
            whole.ask("POST", f"{SUBSCRIBERS}.json", json={"resthook": resthook, "target_url": made[0].json["url"]})
            for resthook in ("message.failed", "message.replied", "message.delivered")
        ]
        subscribed, turned_away = await many(*wanting)
        assert (len(subscribed), len(turned_away)) == (1, 2)
        for each in turned_away:
            sentence = "an organization can have 6 subscriptions at most: remove some, or ask the operator for more"
            assert (each.status, each.json) == (409, {"detail": f"Cannot create object: {sentence}."})
        patches = [
            whole.ask("PATCH", f"/v1/endpoints/{each.json['id']}", json={"event_types": ["message.*", "*", "link.*"]})
            for each in made
        ]
        granted, rest = await many(*patches)
        assert (len(granted), len(rest)) == (0, 3)


async def test_a_new_endpoint_over_the_other_surface_counts_too(database_url: str) -> None:
    async with capped(database_url, endpoints=2) as whole:
        asked = [
            whole.ask("POST", f"{SUBSCRIBERS}.json", json={"resthook": "message.sent", "target_url": url})
            for url in (f"https://{name}.example/" for name in "abcdef")
        ]
        made, others = await many(*asked)
        assert (len(made), len(others)) == (2, 4)
        assert {(each.status, *each.json) for each in others} == {(409, "detail")}
        assert "2 endpoints" in others[0].json["detail"]


async def test_event_types_are_capped(database_url: str) -> None:
    async with capped(database_url, event_types=4) as whole:
        bodies = [{"name": f"order.number_{number}", "schema": SCHEMA} for number in range(AT_ONCE)]
        made, others = await many(*(whole.ask("POST", "/v1/event-types", json=body) for body in bodies))
        assert len(made) == 4
        for each in others:
            refused(each, "name", "4 event types at most: register no more")
        known = {"name": made[0].json["name"], "schema": SCHEMA}
        assert (await whole.ask("POST", "/v1/event-types", json=known)).status == 200


async def test_secrets_are_capped(database_url: str) -> None:
    async with capped(database_url, secrets=4) as whole:
        made = [(await add(whole, number)).json for number in range(3)]
        paths = [f"/v1/endpoints/{each['id']}/rotate-secret" for each in made]
        rotated, others = await many(*(whole.ask("POST", path, json={}) for path in paths))
        assert (len(rotated), len(others)) == (1, 2)
        for each in others:
            refused(each, "secret", "4 secrets")
        refused(await add(whole, 100), "secret", "4 secrets")
        # Without an overlap there are no more than before.
        assert {(await whole.ask("POST", path, json={"overlap_seconds": 0})).status for path in paths} == {200}
        assert (await add(whole, 100)).status == 201


async def test_who_has_more_than_a_lowered_cap_keeps_it_and_can_use_it(database_url: str) -> None:
    async with capped(database_url) as whole:  # 0: no cap
        made = [(await add(whole, number, "message.sent", "message.failed")).json for number in range(4)]
        await whole.made("POST", "/v1/event-types", {"name": "order.placed", "schema": SCHEMA})
        await whole.made("POST", "/v1/event-types", {"name": "order.paid", "schema": SCHEMA})
    async with capped(database_url, endpoints=1, subscriptions=1, event_types=1, secrets=1) as whole:
        path = f"/v1/endpoints/{made[0]['id']}"
        for method, action, body in (
            ("POST", "/pause", None),
            ("POST", "/resume", None),
            ("PATCH", "", {"description": "still mine", "url": "https://moved.example/"}),
            ("PATCH", "", {"event_types": ["order.placed", "order.paid"]}),
            ("POST", "/test", {"event_type": "order.placed"}),
            ("POST", "/rotate-secret", {"overlap_seconds": 0}),
        ):
            told = (
                await whole.ask(method, f"{path}{action}", json=body)
                if body
                else await whole.ask(method, path + action)
            )
            assert told.status < 300, (action, told.body, whole.troubles.heard)
        event = {"id": "evt_1", "type": "order.placed", "timestamp": "2026-11-20T18:25:35Z", "data": {}}
        assert (await whole.ask("POST", "/v1/events", json=event)).status == 202
        assert (
            len((await whole.ask("GET", f"/v1/deliveries?endpoint_id={made[0]['id']}&event_id=evt_1")).json["data"])
            == 1
        )
        refused(await add(whole, 100), "url", "1 endpoint ")
        assert (await whole.ask("DELETE", path)).status == 204
