"""The RetentionStore port: one suite for the fake and for PostgreSQL."""

import json
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from service.core.deliveries.delivery import DeliveryKey, State
from service.core.events.uid import first_uid_from
from service.core.reason import Reason
from service.ports.retention import Ages, Expired
from service.ports.store import Disposition, Recording
from tests.contract.stores.rig import Bench, everyone
from tests.fakes.events import event_of
from tests.fakes.settlements import released, settled_by

pytestmark = [pytest.mark.clock, pytest.mark.usefixtures("same_day")]

RETENTION_DAYS = 30
LAST_DAY = RETENTION_DAYS  # a day this many days ago is dropped tomorrow
OVER = RETENTION_DAYS + 1  # and one of these, now


async def old_uid(bench: Bench, days_ago: float, number: int = 1) -> UUID:
    """A uid of an event received at a midnight, or so long after it, and the partitions of that day."""
    at = await bench.database.today() - timedelta(days=days_ago)
    await bench.database.make_day(at.replace(hour=0, minute=0, second=0, microsecond=0))
    return UUID(int=first_uid_from(at).int + number)


async def old(bench: Bench, days_ago: float, *, wants_lease: bool = False, event_id: str = "") -> list[DeliveryKey]:
    """Record an event as if it had come so many days ago; its deliveries have been open since."""
    changes = {"id": event_id} if event_id else {}
    new = await bench.recording(wants_lease=wants_lease, **changes)
    uid = await old_uid(bench, days_ago)
    deliveries = tuple(
        replace(each, delivery=replace(each.delivery, key=DeliveryKey(uid, each.delivery.key.subscription_id)))
        for each in new.deliveries
    )
    await bench.record(Recording(uid, new.event, new.directory_version, deliveries))
    keys = [each.delivery.key for each in deliveries]
    for key in keys:
        await bench.database.made_at(key, await bench.database.today() - timedelta(days=days_ago))
    return keys


async def expire(bench: Bench, limit: int = 100) -> Sequence[Expired]:
    return await bench.database.retention(RETENTION_DAYS).expire(limit)


async def test_whoever_asks_is_told_of_what_ends(bench: Bench) -> None:
    await bench.endpoint("silent")
    await bench.endpoint("watching", ["delivery.dead"])
    (key,) = await old(bench, OVER)
    assert [each.delivery_count for each in await expire(bench)] == [1]
    assert await bench.database.fan_outs.step("org_1", 100, everyone) is not None
    told = json.loads((await bench.claim_one()).delivery.body)["data"]["delivery"]
    assert (told["id"], told["reason"]) == (str(key), "past_retention")
    assert await drop(bench) == 0


async def drop(bench: Bench) -> int:
    """Drop what may be dropped, and delete the keys; how many days are left to drop."""
    retention = bench.database.retention(RETENTION_DAYS)
    left = await retention.drop_days()
    await retention.purge()
    return left


async def test_what_still_waits_on_its_days_last_day_ends_as_dead_and_can_be_seen_for_that_day(bench: Bench) -> None:
    endpoint_id = await bench.endpoint()
    (over,) = await old(bench, LAST_DAY)
    (kept,) = await old(bench, LAST_DAY - 1)
    assert await expire(bench) == [Expired("org_1", endpoint_id, 1)]
    assert not await expire(bench)
    assert await drop(bench) == 0
    shown = await bench.show(over)
    assert (shown.state, shown.reason, shown.attempts_made) == (State.DEAD, Reason.PAST_RETENTION, 0)
    assert (await bench.show(kept)).state is State.PENDING


async def test_a_paused_endpoints_deliveries_end_like_any_others(bench: Bench) -> None:
    endpoint_id = await bench.endpoint()
    await bench.administration.pause_endpoint("org_1", endpoint_id, paused=True)
    (key,) = await old(bench, OVER)
    assert await expire(bench) == [Expired("org_1", endpoint_id, 1)]
    assert (await bench.show(key)).reason is Reason.PAST_RETENTION


async def test_no_more_end_at_once_than_the_limit_says(bench: Bench) -> None:
    for name in ("a", "b", "c"):
        await bench.endpoint(name)
    keys = await old(bench, LAST_DAY)
    counts = [sum(each.delivery_count for each in await expire(bench, 2)) for _ in range(3)]
    assert (len(keys), counts) == (3, [2, 1, 0])


async def test_a_replay_made_on_the_last_day_has_that_day(bench: Bench) -> None:
    await bench.endpoint()
    (key,) = await old(bench, LAST_DAY)
    await bench.database.made_at(key, await bench.database.today())
    assert not await expire(bench)
    (late,) = await old(bench, OVER)
    await bench.database.made_at(late, await bench.database.today())
    assert len(await expire(bench)) == 1
    assert (await bench.show(late)).reason is Reason.PAST_RETENTION


async def test_what_is_being_sent_keeps_its_day_until_it_is_settled(bench: Bench) -> None:
    await bench.endpoint()
    await old(bench, OVER)
    claim = await bench.claim_one()
    assert not await expire(bench)
    assert await drop(bench) == 1
    await bench.settle(released(claim))
    assert len(await expire(bench)) == 1
    shown = await bench.show(claim.delivery.key)
    assert (shown.state, shown.reason) == (State.DEAD, Reason.PAST_RETENTION)
    assert await drop(bench) == 0
    assert await bench.database.show(claim.delivery.key) is None


async def test_a_2xx_that_comes_after_the_end_changes_nothing(bench: Bench) -> None:
    await bench.endpoint()
    await old(bench, LAST_DAY)
    claim = await bench.claim_one()
    await bench.settle(released(claim))
    await expire(bench)
    assert await bench.settle(settled_by(claim)) == [False]
    assert (await bench.show(claim.delivery.key)).state is State.DEAD


async def test_after_its_day_an_id_can_be_recorded_again(bench: Bench) -> None:
    await bench.endpoint()
    await old(bench, OVER, event_id="evt_old")
    again = await bench.recording(id="evt_old")
    assert (await bench.record(again)).dispositions == (Disposition.DUPLICATE,)
    await expire(bench)
    assert await drop(bench) == 0
    assert (await bench.record(again)).dispositions == (Disposition.RECORDED,)


async def test_a_day_that_could_not_be_dropped_keeps_its_ids(bench: Bench) -> None:
    await bench.endpoint()
    await old(bench, OVER, event_id="evt_old")
    assert await drop(bench) == 1
    again = await bench.recording(id="evt_old")
    assert (await bench.record(again)).dispositions == (Disposition.DUPLICATE,)


async def test_a_fan_out_of_a_dropped_day_is_forgotten(bench: Bench) -> None:
    await bench.endpoint()
    uid = await old_uid(bench, OVER)
    await bench.record(Recording(uid, event_of(), None, is_deferred=True))
    assert await drop(bench) == 0
    assert await bench.database.fan_outs.next_organization("", ()) is None


async def test_whose_deliveries_near_the_end_is_told_with_what_holds_them_back(bench: Bench) -> None:
    retention = bench.database.retention(RETENTION_DAYS)
    assert await retention.ages() == Ages(RETENTION_DAYS)
    endpoint_id = await bench.endpoint()
    await old(bench, 10)
    ages = await retention.ages()
    assert (int(ages.oldest_age_days), ages.ageing) == (10, ())
    assert 1 / 3 <= ages.ratio < 11 / 30
    await old(bench, 26)
    await bench.administration.pause_endpoint("org_1", endpoint_id, paused=True)
    ages = await retention.ages()
    (ageing,) = ages.ageing
    assert (ageing.organization_id, ageing.endpoint_id, ageing.delivery_count) == ("org_1", endpoint_id, 1)
    assert (int(ageing.oldest_age_days), ageing.gates) == (26, ("paused",))
    assert 0.8 < ages.ratio < 1


async def test_the_days_ahead_are_there(bench: Bench) -> None:
    assert await bench.database.retention(RETENTION_DAYS).make_days() == 7
