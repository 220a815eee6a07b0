"""The FailingStore port: one suite for the fake and for PostgreSQL."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from service.core.endpoints.gates.failing import ATTEMPTS_MIN, DisablingPolicy, Recovery, Stage
from tests.contract.stores.rig import Bench, everyone
from tests.fakes.settlements import released, settled_by

pytestmark = pytest.mark.clock

DAY_SECONDS = 86_400.0
POLICY = DisablingPolicy(5 * DAY_SECONDS)


async def fails(bench: Bench, count: int = 1, **changes: Any) -> None:
    """So many attempts fail now."""
    await bench.pending(count, **changes)
    claims = await bench.claim()
    assert len(claims) == count
    await bench.settle(*(settled_by(each, 404) for each in claims))


async def judged(bench: Bench, policy: DisablingPolicy = POLICY) -> list[tuple[str, Stage]]:
    """Who came to which stage."""
    return [(each.streak.endpoint_id, each.stage) for each in await bench.database.failing.judge(policy, 100)]


async def ended(bench: Bench) -> Sequence[Recovery]:
    return await bench.database.failing.end(100)


async def told(bench: Bench) -> list[dict[str, Any]]:
    """The operational events that were announced, in order; their deliveries succeed."""
    while (owner := await bench.database.fan_outs.next_organization("", ())) is not None:
        assert await bench.database.fan_outs.step(owner, 100, everyone) is not None
    due = await bench.claim()
    claims = [each for each in due if each.delivery.event_type.startswith("endpoint.")]
    await bench.settle(*(settled_by(each) if each in claims else released(each) for each in due))
    return [json.loads(each.delivery.body) for each in sorted(claims, key=lambda each: each.delivery.key.event_uid)]


async def test_an_endpoint_that_fails_for_days_is_told_of_twice_and_then_disabled(bench: Bench) -> None:
    failing = await bench.endpoint("failing")
    await bench.endpoint("watching", ["endpoint.*"])
    await fails(bench, ATTEMPTS_MIN)
    assert await judged(bench) == []
    await bench.database.pass_time(2.5 * DAY_SECONDS)
    assert await judged(bench) == [(failing, Stage.WARNED)]
    assert await judged(bench) == [], "once"
    (first,) = await told(bench)
    await bench.database.pass_time(2 * DAY_SECONDS)
    await bench.hurry()
    await fails_again(bench)
    assert await judged(bench) == [(failing, Stage.WARNED_AGAIN)]
    (second,) = await told(bench)
    await bench.database.pass_time(0.5 * DAY_SECONDS)
    await bench.hurry()
    await fails_again(bench)
    assert await judged(bench) == [(failing, Stage.DISABLED)]
    (last,) = await told(bench)
    assert [each["type"] for each in (first, second, last)] == ["endpoint.failing"] * 2 + ["endpoint.disabled"]
    assert [each["data"].get("ratio") for each in (first, second, last)] == [0.5, 0.9, None]
    assert {each["data"]["endpoint"]["id"] for each in (first, second, last)} == {failing}
    assert await judged(bench) == []
    await bench.hurry()
    assert not await bench.claim(), "its deliveries wait"
    assert (await bench.store.backlog()).gates == {"disabled": 1}


async def fails_again(bench: Bench) -> None:
    """What is due fails once more."""
    claims = await bench.claim()
    assert claims
    await bench.settle(*(settled_by(each, 404) for each in claims))


async def test_without_a_further_failure_nothing_follows(bench: Bench) -> None:
    """Whoever is sent nothing more may have been mended long ago."""
    failing = await bench.endpoint("failing")
    await fails(bench, ATTEMPTS_MIN)
    await bench.database.pass_time(3 * DAY_SECONDS)
    assert await judged(bench) == [(failing, Stage.WARNED)]
    await bench.database.pass_time(30 * DAY_SECONDS)
    assert await judged(bench) == []


async def test_few_attempts_disable_nobody(bench: Bench) -> None:
    failing = await bench.endpoint("failing")
    await fails(bench, ATTEMPTS_MIN - 1)
    await bench.database.pass_time(6 * DAY_SECONDS)
    assert await judged(bench) == [(failing, Stage.WARNED_AGAIN)]
    await bench.hurry()
    await fails_again(bench)
    assert await judged(bench) == [(failing, Stage.DISABLED)]


async def test_a_paused_endpoint_is_not_judged(bench: Bench) -> None:
    failing = await bench.endpoint("failing")
    await fails(bench, ATTEMPTS_MIN)
    await bench.administration.pause_endpoint("org_1", failing, paused=True)
    await bench.database.pass_time(6 * DAY_SECONDS)
    assert await judged(bench) == []
    await bench.administration.pause_endpoint("org_1", failing, paused=False)
    assert await judged(bench) == [], "who resumes it says that it works"


async def test_a_policy_of_never_judges_nobody(bench: Bench) -> None:
    await bench.endpoint("failing")
    await fails(bench, ATTEMPTS_MIN)
    await bench.database.pass_time(300 * DAY_SECONDS)
    assert await judged(bench, DisablingPolicy(0)) == []


async def test_a_success_ends_what_was_told_and_opens_the_gate(bench: Bench) -> None:
    failing = await bench.endpoint("failing")
    await bench.endpoint("watching", ["endpoint.recovered"])
    (late_key,) = await bench.pending()
    late = await bench.claim_one()
    await fails(bench, ATTEMPTS_MIN)
    assert late.delivery.key == late_key
    await bench.database.pass_time(6 * DAY_SECONDS)
    assert await judged(bench) == [(failing, Stage.DISABLED)]
    assert list(await ended(bench)) == []
    await bench.settle(settled_by(late))
    (recovery,) = await ended(bench)
    assert (recovery.endpoint_id, recovery.was_disabled) == (failing, True)
    assert list(await ended(bench)) == [], "once"
    await bench.hurry()
    assert (await bench.store.backlog()).gates == {}
    events = [each for each in await told(bench) if each["type"] == "endpoint.recovered"]
    assert [each["data"]["was_disabled"] for each in events] == [True]


async def test_resuming_a_disabled_endpoint_begins_anew(bench: Bench) -> None:
    failing = await bench.endpoint("failing")
    await bench.endpoint("watching", ["endpoint.recovered"])
    await fails(bench, ATTEMPTS_MIN)
    await bench.database.pass_time(6 * DAY_SECONDS)
    assert await judged(bench) == [(failing, Stage.DISABLED)]
    await bench.administration.pause_endpoint("org_1", failing, paused=False)
    await bench.hurry()
    assert {each.delivery.endpoint_id for each in await bench.claim()} == {failing}, "its backlog was kept"
    assert [each.was_disabled for each in await ended(bench)] == [True]
    assert [each["type"] for each in await told(bench)] == ["endpoint.recovered"]
    assert await judged(bench) == []


async def test_a_new_streak_is_told_of_anew(bench: Bench) -> None:
    failing = await bench.endpoint("failing")
    await bench.endpoint("watching", ["endpoint.failing"])
    for _ in range(2):
        await fails(bench)
        await bench.database.pass_time(3 * DAY_SECONDS)
        assert await judged(bench) == [(failing, Stage.WARNED)]
        await bench.hurry()
        await bench.settle(
            *map(settled_by, [each for each in await bench.claim() if each.delivery.endpoint_id == failing])
        )
    assert len({each["id"] for each in await told(bench)}) == 2


async def test_of_an_endpoint_with_operational_events_only_nothing_is_announced(bench: Bench) -> None:
    failing = await bench.endpoint("failing", ["endpoint.gone", "delivery.*"])
    await bench.endpoint("watching", ["endpoint.failing", "endpoint.disabled", "endpoint.recovered"])
    await fails(bench, ATTEMPTS_MIN, type="endpoint.gone", data={})
    await bench.database.pass_time(6 * DAY_SECONDS)
    assert await judged(bench) == [(failing, Stage.DISABLED)]
    await bench.administration.pause_endpoint("org_1", failing, paused=False)
    assert len(await ended(bench)) == 1
    assert (await bench.store.backlog()).fan_out_count == 0


async def test_who_is_removed_leaves_nothing_behind(bench: Bench) -> None:
    failing = await bench.endpoint("failing")
    await bench.endpoint("watching", ["endpoint.*"])
    await fails(bench)
    await bench.database.pass_time(3 * DAY_SECONDS)
    assert await judged(bench) == [(failing, Stage.WARNED)]
    assert len(await told(bench)) == 1
    await bench.administration.remove_endpoint("org_1", failing)
    assert list(await ended(bench)) == []
    assert await told(bench) == []


async def test_workers_that_judge_at_once_tell_it_once(bench: Bench) -> None:
    failing = await bench.endpoint("failing")
    await bench.endpoint("watching", ["endpoint.*"])
    await fails(bench)
    await bench.database.pass_time(3 * DAY_SECONDS)
    found = await asyncio.gather(*(judged(bench) for _ in range(4)))
    assert [each for one in found for each in one] == [(failing, Stage.WARNED)]
    assert len(await told(bench)) == 1
