"""The ExpiryStore port, and what the other stores make of an endpoint that has expired: fake and PostgreSQL alike."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from service.core.deliveries.delivery import State
from service.core.endpoints.directory import BEGINNING
from service.core.endpoints.expiry import WARN_BEFORE
from service.core.endpoints.view import RemovalReason
from service.core.reason import Reason
from service.ports.store import Recording
from tests.contract.stores.rig import Bench, everyone
from tests.fakes.events import event_of, new_uid
from tests.fakes.settlements import settled_by

pytestmark = pytest.mark.clock

HOUR_SECONDS = 3_600.0


async def until(bench: Bench, endpoint_id: str, seconds: float) -> None:
    """The endpoint expires so many seconds from now."""
    valid_until = await bench.store.now() + timedelta(seconds=seconds)
    await bench.database.set_endpoint(endpoint_id, valid_until=valid_until)


async def ended(bench: Bench, limit: int = 100) -> list[str]:
    expiry = bench.database.expiry
    return [
        each.endpoint_id
        for owner, endpoint_ids in (await expiry.over(limit, ())).items()
        for each in await expiry.end(owner, endpoint_ids)
    ]


async def told(bench: Bench) -> Sequence[dict[str, Any]]:
    """The operational events that were announced since the last time; their deliveries succeed."""
    while (owner := await bench.database.fan_outs.next_organization("", ())) is not None:
        assert await bench.database.fan_outs.step(owner, 100, everyone) is not None
    claims = await bench.claim()
    await bench.settle(*(settled_by(each) for each in claims))
    return [json.loads(each.delivery.body) for each in sorted(claims, key=lambda each: each.delivery.key.event_uid)]


async def test_an_endpoint_ends_at_its_time_and_what_waits_for_it_is_cancelled(bench: Bench) -> None:
    expiring, staying = await bench.endpoint("expiring"), await bench.endpoint("staying")
    await until(bench, expiring, HOUR_SECONDS)
    keys = await bench.pending()
    assert await ended(bench) == []
    await bench.database.pass_time(HOUR_SECONDS)
    assert await bench.database.expiry.over(10, ["org_1"]) == {}
    assert await bench.database.expiry.over(10, ["org_2"]) == {"org_1": [expiring]}
    assert await ended(bench) == [expiring]
    assert await ended(bench) == [], "once"
    shown = [await bench.show(each) for each in keys]
    assert [(each.state, each.reason) for each in shown] == [
        (State.CANCELLED, Reason.ENDPOINT_EXPIRED),
        (State.PENDING, None),
    ]
    assert [each.delivery.endpoint_id for each in await bench.claim()] == [staying]
    (page,) = await bench.database.subscriptions.load({"org_1": BEGINNING}, endpoints_max=10)
    assert ([each.id for each in page.endpoints], list(page.removed)) == ([staying], [expiring])


async def test_one_that_was_given_more_time_goes_on_and_one_without_an_end_too(bench: Bench) -> None:
    moved = await bench.endpoint("moved")
    await bench.endpoint("endless")
    await until(bench, moved, HOUR_SECONDS)
    await until(bench, moved, 3 * HOUR_SECONDS)
    await bench.database.pass_time(2 * HOUR_SECONDS)
    assert await ended(bench) == []
    assert len(await bench.pending()) == 2


async def test_an_event_that_comes_later_is_for_the_others_though_nothing_was_ended_yet(bench: Bench) -> None:
    expired, staying = await bench.endpoint("expired"), await bench.endpoint("staying")
    await until(bench, expired, HOUR_SECONDS)
    await bench.database.pass_time(HOUR_SECONDS)
    recording = await bench.recording()
    assert [each.endpoint.id for each in recording.deliveries] == [staying]


@pytest.mark.parametrize("chunk", [1, 10])
async def test_a_deferred_fan_out_passes_it_over_and_goes_on_to_the_last(bench: Bench, chunk: int) -> None:
    endpoints = [await bench.endpoint(name) for name in "abc"]
    expired = sorted(endpoints)[1]
    await until(bench, expired, HOUR_SECONDS)
    await bench.database.pass_time(HOUR_SECONDS)
    await bench.record(Recording(new_uid(), event_of(id="evt_wide"), None, is_deferred=True))
    while await bench.database.fan_outs.next_organization("", ()) is not None:
        assert await bench.database.fan_outs.step("org_1", chunk, everyone) is not None
    claims = await bench.claim()
    assert {each.delivery.endpoint_id for each in claims} == {*endpoints} - {expired}


async def test_why_subscriptions_ended_is_kept(bench: Bench) -> None:
    expired, removed = await bench.endpoint("expired"), await bench.endpoint("removed")
    await bench.endpoint("staying")
    await until(bench, expired, HOUR_SECONDS)
    keys = {each.delivery.endpoint_id: each.delivery.key for each in (await bench.recording()).deliveries}
    ids = {endpoint_id: key.subscription_id for endpoint_id, key in keys.items()}
    await bench.administration.remove_endpoint("org_1", removed)
    await bench.database.pass_time(HOUR_SECONDS)
    await ended(bench)
    assert await bench.database.subscriptions.ended([*ids.values(), 10**6]) == {
        ids[expired]: RemovalReason.EXPIRED,
        ids[removed]: RemovalReason.DELETED,
    }


async def test_several_workers_end_each_of_them_once_and_as_many_as_they_are_asked_to(bench: Bench) -> None:
    expired = [await bench.endpoint(f"e{number}") for number in range(5)]
    await bench.endpoint("watching", ["endpoint.expired"])
    for each in expired:
        await until(bench, each, HOUR_SECONDS)
    await bench.database.pass_time(HOUR_SECONDS)
    first = await ended(bench, 2)
    assert len(first) == 2
    at_once = await asyncio.gather(*(ended(bench) for _ in range(3)))
    assert sorted(first + [each for found in at_once for each in found]) == sorted(expired)
    assert sorted(each["data"]["endpoint"]["id"] for each in await told(bench)) == sorted(expired)


async def test_its_end_is_announced_with_a_warning_a_day_before(bench: Bench) -> None:
    expiring = await bench.endpoint("expiring")
    await bench.endpoint("watching", ["endpoint.*"])
    day_seconds = WARN_BEFORE.total_seconds()
    await until(bench, expiring, 2 * day_seconds)
    count, place = await bench.database.expiry.warn(None, 10)
    assert (count, await told(bench)) == (0, [])
    await bench.database.pass_time(day_seconds + 1)
    assert (await bench.database.expiry.warn(None, 10))[0] == 1
    (warning,) = await told(bench)
    assert (await bench.database.expiry.warn(None, 10))[0] == 1, "a worker that has just started looks again"
    assert await told(bench) == [], "and nobody is told twice"
    assert place[1] == ""
    await bench.database.pass_time(day_seconds)
    assert await bench.database.expiry.warn(None, 10) != (1, place)
    assert await ended(bench) == [expiring]
    (end,) = await told(bench)
    assert [each["type"] for each in (warning, end)] == ["endpoint.expiring", "endpoint.expired"]
    assert {each["data"]["endpoint"]["id"] for each in (warning, end)} == {expiring}


async def test_those_that_end_at_one_moment_are_all_warned_page_after_page(bench: Bench) -> None:
    expiring = [await bench.endpoint(f"e{number}") for number in range(5)]
    await bench.endpoint("watching", ["endpoint.expiring"])
    valid_until = await bench.store.now() + timedelta(seconds=HOUR_SECONDS)
    for each in expiring:
        await bench.database.set_endpoint(each, valid_until=valid_until)
    count, place = await bench.database.expiry.warn(None, 2)
    counts = [count]
    while count == 2:
        count, place = await bench.database.expiry.warn(place, 2)
        counts.append(count)
    assert counts == [2, 2, 1]
    assert sorted(each["data"]["endpoint"]["id"] for each in await told(bench)) == sorted(expiring)


async def test_one_that_gets_operational_events_alone_ends_without_a_word(bench: Bench) -> None:
    silent = await bench.endpoint("silent", ["endpoint.*"])
    await bench.endpoint("watching", ["endpoint.*"])
    await until(bench, silent, HOUR_SECONDS)
    await bench.database.expiry.warn(None, 10)
    await bench.database.pass_time(HOUR_SECONDS)
    assert await ended(bench) == [silent]
    assert await told(bench) == []
