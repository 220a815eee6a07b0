"""What happens at once: changes of one endpoint, replays, removals, and workers in between."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.engine import driver
from service.core.deliveries.settlement import Accept, Retry, Settled
from service.core.reason import Reason
from service.ports.store import Claimed
from tests.api.entrance_rig import Told, sql
from tests.api.whole_rig import OWNER, SUBSCRIBERS, Things, Whole, make_things, whole_on
from tests.fakes.delivery_store import alike
from tests.fakes.settlements import settled_by
from webhook_signature.sign import KEYS_MAX

pytestmark = pytest.mark.clock

AT_ONCE = 6
MINE = "https://mine.example/hook"  # where make_things' endpoint is


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole
        assert not whole.troubles.heard


@pytest.fixture
async def things(whole: Whole) -> Things:
    return await make_things(whole)


def worker_on(whole: Whole) -> PostgresDeliveryStore:
    return PostgresDeliveryStore(whole.engine, worker_name="worker", lease_seconds=60)


async def claim(whole: Whole) -> Sequence[Claimed]:
    return await worker_on(whole).claim_due(alike(100))


async def at_once(*requests: Any) -> list[Told]:
    return list(await asyncio.gather(*requests))


async def test_a_delivery_in_flight_is_cancelled_though_its_endpoint_was_paused_before_it_was_deleted(
    whole: Whole, things: Things
) -> None:
    """A gate that outlives its endpoint would hide the delivery from every worker, for ever."""
    (claimed,) = await claim(whole)
    await whole.made("POST", f"/v1/endpoints/{things.endpoint_id}/pause", None)
    assert (await whole.ask("DELETE", f"/v1/endpoints/{things.endpoint_id}")).status == 204
    retry = Settled(claimed.delivery, claimed.claim_number, Retry(0.0, Reason.TIMEOUT), None)
    assert await worker_on(whole).settle([retry]) == [True]
    (again,) = await claim(whole)  # where its subscription is missed, and it is cancelled
    assert again.delivery.key == claimed.delivery.key


async def test_replays_at_once_are_deliveries_of_their_own(whole: Whole, things: Things) -> None:
    await end_deliveries(whole)
    told = await at_once(*(whole.ask("POST", f"/v1/deliveries/{things.delivery_id}/replay") for _ in range(AT_ONCE)))
    assert [each.status for each in told] == [202] * AT_ONCE
    assert {each.json["replay_number"] for each in told} == set(range(1, AT_ONCE + 1))


async def test_nothing_waits_for_what_was_removed_while_it_was_replayed(whole: Whole, things: Things) -> None:
    await end_deliveries(whole)
    replay = f"/v1/deliveries/{things.delivery_id}/replay"
    told = await at_once(
        *(whole.ask("POST", replay) for _ in range(AT_ONCE)),
        whole.ask("DELETE", f"/v1/endpoints/{things.endpoint_id}"),
        *(whole.ask("POST", replay) for _ in range(AT_ONCE)),
    )
    assert {each.status for each in told} <= {202, 204, 409}
    assert await sql(whole.engine, "SELECT count(*) FROM open_deliveries") == 0


async def test_changes_at_once_are_all_made(whole: Whole, things: Things) -> None:
    path = f"/v1/endpoints/{things.endpoint_id}"
    changes: list[dict[str, object]] = [
        {"description": "new"},
        {"timeout_seconds": 3.0},
        {"retry": [5.0]},
        {"url": "https://moved.example/"},
        {"event_types": ["*"]},
    ]
    told = await at_once(
        *(whole.ask("PATCH", path, json=change) for change in changes),
        *(whole.ask("PATCH", path, json={"metadata": {name: "b"}}) for name in ("a", "c")),
        whole.ask("POST", f"{path}/pause"),
    )
    assert {each.status for each in told} == {200}
    endpoint = (await whole.ask("GET", path)).json
    for change in changes:
        assert endpoint.items() >= change.items()
    assert endpoint["metadata"].items() >= {"a": "b", "c": "b"}.items()
    assert endpoint["state"] == "paused"


async def test_rotations_at_once_leave_three_secrets_at_most(whole: Whole, things: Things) -> None:
    """Whatever else asks for a secret of that URL meanwhile: none of the others adds one."""
    path = f"/v1/endpoints/{things.endpoint_id}"
    own_secret = "whsec_" + "A" * 44
    known = {"url": MINE, "event_types": ["message.sent"]}
    resthook = {"resthook": "message.sent", "target_url": MINE}
    told = await at_once(
        *(whole.ask("POST", f"{path}/rotate-secret", json={"overlap_seconds": 3600}) for _ in range(AT_ONCE)),
        *(whole.ask("POST", "/v1/endpoints", json={**known, "secret": own_secret}) for _ in range(2)),
        *(whole.ask("POST", f"{SUBSCRIBERS}.json", json={**resthook, "secret": own_secret}) for _ in range(2)),
        *(whole.ask("PATCH", path, json={"url": MINE}) for _ in range(2)),
    )
    statuses = [each.status for each in told]
    assert sorted(statuses[:AT_ONCE]) == [200] * (KEYS_MAX - 1) + [409] * (AT_ONCE - KEYS_MAX + 1)
    assert statuses[AT_ONCE:] == [409, 409, 400, 400, 200, 200]
    assert len((await whole.ask("GET", path)).json["secrets"]) == KEYS_MAX
    stored = "SELECT count(*) FROM endpoint_secrets WHERE endpoint_id = $1"
    assert await sql(whole.engine, stored, things.endpoint_id) == KEYS_MAX
    # Two that end the others at once, and some that would overlap or change the style: never one more, never none.
    mixed = await at_once(
        *(
            whole.ask("POST", f"{path}/rotate-secret", json={"overlap_seconds": seconds})
            for seconds in (0, 3600, 3600, 0, 3600, 3600)
        ),
        *(
            whole.ask("PATCH", path, json={"signature_style": style, "overlap_seconds": 3600})
            for style in ("ed25519", "t-v1", "standard")
        ),
    )
    assert {each.status for each in mixed} <= {200, 400, 409}
    assert 1 <= await sql(whole.engine, stored, things.endpoint_id) <= KEYS_MAX


async def test_creations_at_once_make_one_endpoint(whole: Whole) -> None:
    wanted = {"url": "https://once.example/", "event_types": ["message.sent"]}
    resthook = {"resthook": "link.clicked", "target_url": "https://once.example/"}
    told = await at_once(
        *(whole.ask("POST", "/v1/endpoints", json=wanted) for _ in range(AT_ONCE)),
        *(whole.ask("POST", f"{SUBSCRIBERS}.json", json=resthook) for _ in range(AT_ONCE)),
    )
    assert len([each for each in told if "secret" in (each.json or ())]) == 1
    assert {each.status for each in told} <= {200, 201, 400, 409}  # 409: it has a resthook's event types
    assert len((await whole.ask("GET", "/v1/endpoints?url=https://once.example/")).json["data"]) == 1


async def test_a_move_and_a_settlement_do_not_wait_for_each_other(whole: Whole, things: Things) -> None:
    """The one holds the organization and wants the endpoint's gate; the other must not hold that gate and want it."""
    await whole.made("POST", "/v1/endpoints", {"url": "https://gone.example/", "event_types": ["link.clicked"]})
    click = {"message": {"id": "m"}, "link": {"url": "https://e.org"}, "click": {"id": "c", "clicked_at": NOW}}
    await whole.made("POST", "/v1/events", {"id": "e", "type": "link.clicked", "timestamp": NOW, "data": click})
    throttled, gone = sorted(await claim(whole), key=lambda each: each.delivery.endpoint_id != things.endpoint_id)
    await sql(whole.engine, "INSERT INTO gates VALUES ($1, 'retry_after', now())", things.endpoint_id)
    batch = [
        settled_by(throttled, 429, retry_after="9"),
        settled_by(gone, 410),
    ]
    async with driver(whole.engine) as connection, connection.transaction():
        await connection.execute("SELECT FROM organizations WHERE id = $1 FOR UPDATE", OWNER)
        body = {"url": "https://moved.example/"}
        moving = asyncio.create_task(whole.ask("PATCH", f"/v1/endpoints/{things.endpoint_id}", json=body))
        await until_blocked(whole, 1)
        settling = asyncio.create_task(worker_on(whole).settle(batch))
        await until_blocked(whole, 2)
    assert (await moving).status == 200
    assert await settling == [True, True]


NOW = "2026-11-20T18:25:35Z"


async def until_blocked(whole: Whole, count: int) -> None:
    """Wait until so many sessions wait for a lock."""
    waiting = """SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    async with asyncio.timeout(60):
        while await sql(whole.engine, waiting) < count:
            pass


async def end_deliveries(whole: Whole) -> None:
    """Have everything that waits delivered."""
    for each in await claim(whole):
        settled = Settled(each.delivery, each.claim_number, Accept(), None)
        assert await worker_on(whole).settle([settled]) == [True]


async def test_a_410_from_where_an_endpoint_was_does_not_end_it_where_it_is(whole: Whole, things: Things) -> None:
    (claimed,) = await claim(whole)
    path = f"/v1/endpoints/{things.endpoint_id}"
    left = (await whole.ask("GET", path)).json["url"]
    await whole.made("PATCH", path, {"url": "https://moved.example/"})
    gone = settled_by(claimed, 410, target_url=left)
    assert await worker_on(whole).settle([gone]) == [True]
    assert (await whole.ask("GET", path)).json["state"] == "active"
    (again,) = (await whole.ask("GET", f"/v1/deliveries?endpoint_id={things.endpoint_id}&state=cancelled")).json["data"]
    assert again["reason"] == "gone"
