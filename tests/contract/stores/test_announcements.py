"""Announcements: one suite for the fake and for PostgreSQL."""

import json
from typing import Any

import pytest

from service.core.deliveries.delivery import State
from service.core.deliveries.settlement import Settled
from service.core.endpoints.retry_schedule import RetrySchedule
from service.ports.store import Claimed
from tests.contract.stores.rig import Bench, everyone
from tests.fakes.settlements import settled_by

pytestmark = pytest.mark.clock

LAST = RetrySchedule(attempts_max=1)


def dying(claim: Claimed) -> Settled:
    return settled_by(claim, 500, schedule=LAST)


async def fan_outs_count(bench: Bench) -> int:
    return (await bench.store.backlog()).fan_out_count


async def announced(bench: Bench) -> list[dict[str, Any]]:
    """What is sent to those who ask for announcements, in the order in which it was announced."""
    while (owner := await bench.database.fan_outs.next_organization("", ())) is not None:
        assert await bench.database.fan_outs.step(owner, 100, everyone) is not None
    claims = sorted(await bench.claim(), key=lambda claim: claim.delivery.key.event_uid)
    bodies = [json.loads(claim.delivery.body) for claim in claims]
    assert [each["id"] for each in bodies] == [claim.delivery.event_id for claim in claims]
    assert {claim.delivery.key.event_uid.version for claim in claims} <= {7}
    return bodies


@pytest.mark.parametrize("pattern", ["delivery.dead", "delivery.*"])
async def test_a_dead_delivery_is_announced_once_to_whoever_asks(bench: Bench, pattern: str) -> None:
    await bench.endpoint("dying")
    await bench.endpoint("watching", [pattern])
    (key,) = await bench.pending()
    claim = await bench.claim_one()
    assert await bench.settle(dying(claim)) == [True]
    assert await bench.settle(dying(claim)) == [False]  # a COMMIT whose answer was lost
    (told,) = await announced(bench)
    assert (told["type"], told["data"]["delivery"]["id"]) == ("delivery.dead", str(key))
    assert await announced(bench) == []


async def test_where_nobody_asks_nothing_is_recorded(bench: Bench) -> None:
    await bench.endpoint("dying")
    await bench.endpoint("everything", ["*"])
    await bench.administration.create_organization("org_2")
    await bench.administration.add_endpoint("org_2", "https://other.example/", ["delivery.dead"])
    await bench.pending()
    claims = await bench.claim()
    assert len(claims) == 2
    await bench.settle(*(dying(claim) for claim in claims))
    assert await fan_outs_count(bench) == 0
    assert await announced(bench) == []


async def test_who_has_left_is_not_asked(bench: Bench) -> None:
    await bench.endpoint("dying")
    left = await bench.endpoint("left", ["delivery.dead"])
    assert await bench.administration.remove_endpoint("org_1", left)
    await bench.pending()
    await bench.settle(dying(await bench.claim_one()))
    assert await fan_outs_count(bench) == 0


async def test_a_death_that_did_not_happen_is_not_announced(bench: Bench) -> None:
    await bench.endpoint("slow")
    await bench.endpoint("watching", ["delivery.dead"])
    await bench.pending()
    late = await bench.claim_one()
    await bench.database.pass_time(61)
    (rescued,) = await bench.store.rescue(10)
    assert await bench.settle(settled_by(rescued)) == [True]
    assert await bench.settle(dying(late)) == [False]
    assert await fan_outs_count(bench) == 0


async def test_of_a_batch_each_death_is_announced_and_nothing_else(bench: Bench) -> None:
    await bench.endpoint("dying")
    await bench.endpoint("watching", ["delivery.dead", "endpoint.gone"])
    keys = await bench.pending(6)
    claims = {claim.delivery.key: claim for claim in await bench.claim()}
    await bench.settle(
        *(dying(claims[key]) for key in keys[:3]), settled_by(claims[keys[3]]), settled_by(claims[keys[4]], 500)
    )
    told = [each["data"]["delivery"]["id"] for each in await announced(bench)]
    assert sorted(told) == sorted(map(str, keys[:3]))


async def test_a_thousand_deaths_are_announced_together(bench: Bench) -> None:
    await bench.endpoint("dying")
    await bench.endpoint("watching", ["delivery.dead"])
    await bench.pending(1000)
    claims = await bench.claim(1000, per_endpoint_limit=1000)
    assert await bench.settle(*map(dying, claims)) == [True] * 1000
    assert await fan_outs_count(bench) == 1000


async def test_a_receiver_that_is_gone_is_announced_once_for_each_subscription(bench: Bench) -> None:
    await bench.endpoint("gone", ["message.sent", "link.clicked"])
    await bench.endpoint("watching", ["endpoint.gone"])
    sent = await bench.pending(2)
    (clicked,) = await bench.pending(type="link.clicked")
    claims = {claim.delivery.key: claim for claim in await bench.claim()}
    await bench.settle(*(settled_by(claims[key], 410) for key in sent))
    (told,) = await announced(bench)
    assert (told["type"], told["data"]["subscription"]["id"]) == ("endpoint.gone", sent[0].subscription_id)
    assert told["data"]["delivery"]["id"] in map(str, sent)
    await bench.settle(settled_by(claims[clicked], 410))
    (told,) = await announced(bench)
    assert told["data"]["subscription"]["id"] == clicked.subscription_id
    assert {(await bench.show(key)).state for key in (*sent, clicked)} == {State.CANCELLED}


async def test_a_410_of_a_url_that_has_changed_is_not_announced(bench: Bench) -> None:
    await bench.endpoint("changed")
    await bench.endpoint("watching", ["endpoint.gone"])
    await bench.pending()
    claim = await bench.claim_one()
    await bench.settle(settled_by(claim, 410, target_url="https://before.example/"))
    assert await fan_outs_count(bench) == 0


async def test_the_death_of_an_announcement_is_not_announced(bench: Bench) -> None:
    await bench.endpoint("dying")
    await bench.endpoint("watching", ["delivery.dead", "endpoint.gone"])
    await bench.pending()
    await bench.settle(dying(await bench.claim_one()))
    assert await bench.database.fan_outs.step("org_1", 100, everyone) is not None
    assert await bench.database.fan_outs.next_organization("", ()) is None
    echo = await bench.claim_one()
    assert echo.delivery.event_type == "delivery.dead"
    assert await bench.settle(dying(echo)) == [True]
    assert await fan_outs_count(bench) == 0
