"""The FanOutStore port: one suite for the fake and for PostgreSQL."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from service.adapters.postgres.engine import driver
from service.core.deliveries.delivery import DeliveryKey, State
from service.core.reason import Reason
from service.ports.errors import UnavailableError
from service.ports.store import Asking, Disposition, FanOutStep, Recording
from tests.contract.stores.rig import Bench, InPostgres, everyone
from tests.fakes.events import event_of, new_uid

pytestmark = pytest.mark.clock


async def deferred(bench: Bench, **changes: Any) -> UUID:
    """Record an event whose fan-out is deferred; its uid."""
    recording = Recording(new_uid(), event_of(**changes), None, is_deferred=True)
    assert (await bench.record(recording)).dispositions == (Disposition.RECORDED,)
    return recording.uid


async def step(bench: Bench, limit: int = 100, organization_id: str = "org_1") -> FanOutStep:
    stepped = await bench.database.fan_outs.step(organization_id, limit, everyone)
    assert stepped is not None
    return stepped


async def owners(bench: Bench, after: str = "", resting: Sequence[str] = ()) -> str | None:
    return await bench.database.fan_outs.next_organization(after, resting)


async def receivers(bench: Bench) -> list[tuple[str, int]]:
    """Who is sent what: endpoint and subscription of everything that is due."""
    return sorted((claim.delivery.endpoint_id, claim.delivery.key.subscription_id) for claim in await bench.claim())


async def test_an_event_is_recorded_at_once_and_fanned_out_in_chunks(bench: Bench) -> None:
    endpoints = sorted([await bench.endpoint(name) for name in "abcde"])
    await bench.endpoint("other", ["link.clicked"])
    uid = await deferred(bench)
    assert not await bench.claim()
    assert (await bench.store.backlog()).fan_out_count == 1

    assert await owners(bench) == "org_1"
    assert await step(bench, 2) == FanOutStep(uid, 2, 2)
    assert [endpoint_id for endpoint_id, _ in await receivers(bench)] == endpoints[:2]
    assert await step(bench, 2) == FanOutStep(uid, 2, 2)
    assert await step(bench, 2) == FanOutStep(uid, 1, 1)

    assert [endpoint_id for endpoint_id, _ in await receivers(bench)] == endpoints[2:]
    assert await owners(bench) is None
    assert await bench.database.fan_outs.step("org_1", 2, everyone) is None
    assert (await bench.store.backlog()).fan_out_count == 0


async def test_what_is_claimed_is_the_event(bench: Bench) -> None:
    await bench.endpoint("a")
    uid = await deferred(bench, id="evt_1")
    await step(bench)
    (claim,) = await bench.claim()
    assert (claim.delivery.key.event_uid, claim.delivery.event_id) == (uid, "evt_1")
    assert (claim.delivery.event_type, claim.delivery.body) == ("message.sent", event_of(id="evt_1").body)
    assert (claim.claim_number, claim.delivery.attempts_made) == (1, 0)


async def test_a_chunk_that_ends_with_the_last_endpoint_leaves_nothing_behind(bench: Bench) -> None:
    for name in "ab":
        await bench.endpoint(name)
    uid = await deferred(bench)
    assert await step(bench, 2) == FanOutStep(uid, 2, 2)
    assert await step(bench, 2) == FanOutStep(uid, 0, 0)
    assert await owners(bench) is None
    assert len(await bench.claim()) == 2


async def test_each_endpoint_asks_through_its_most_specific_subscription(bench: Bench) -> None:
    patterns = {"a": ["*", "message.*", "message.sent"], "b": ["*", "message.*"], "c": ["*"], "d": ["link.*"]}
    chosen = {}
    for name, event_types in patterns.items():
        endpoint_id = await bench.endpoint(name, event_types)
        recording = await bench.recording()
        for new in recording.deliveries:
            chosen[new.delivery.endpoint_id] = new.delivery.key.subscription_id
        assert (endpoint_id in chosen) == (name != "d")
    await deferred(bench, id="evt_deferred")
    while await owners(bench):
        await step(bench, 1)
    assert dict(await receivers(bench)) == chosen


async def test_who_subscribes_later_does_not_get_it_whatever_its_place(bench: Bench) -> None:
    before = [await bench.endpoint(name) for name in "ab"]
    await deferred(bench)
    for name in "cdefgh":
        await bench.endpoint(name)
    while await owners(bench):
        await step(bench, 1)
    assert [endpoint_id for endpoint_id, _ in await receivers(bench)] == sorted(before)


async def test_who_leaves_meanwhile_does_not_get_it(bench: Bench) -> None:
    first, second, third = sorted([await bench.endpoint(name) for name in "abc"])
    uid = await deferred(bench)
    await step(bench, 1)
    assert await bench.administration.remove_endpoint("org_1", first)
    assert await bench.administration.remove_endpoint("org_1", second)
    while await owners(bench):
        await step(bench, 1)
    assert [endpoint_id for endpoint_id, _ in await receivers(bench)] == [third]
    ended = [await bench.database.show(DeliveryKey(uid, number)) for number in range(1, 4)]
    assert [(each.state, each.reason) for each in ended if each and each.reason] == [
        (State.CANCELLED, Reason.SUBSCRIPTION_DELETED)
    ]


async def test_those_that_are_not_chosen_get_nothing(bench: Bench) -> None:
    wanted, _ = sorted([await bench.endpoint(name) for name in "ab"])
    uid = await deferred(bench)

    async def choose(body: bytes, asking: Sequence[Asking]) -> Sequence[Asking]:
        assert body == event_of().body
        return [each for each in asking if each.endpoint_id == wanted]

    assert await bench.database.fan_outs.step("org_1", 10, choose) == FanOutStep(uid, 2, 1)
    assert [endpoint_id for endpoint_id, _ in await receivers(bench)] == [wanted]


async def test_an_error_in_a_step_leaves_nothing_behind(bench: Bench) -> None:
    for name in "ab":
        await bench.endpoint(name)
    uid = await deferred(bench)

    async def fail(_: bytes, __: Sequence[Asking]) -> Sequence[Asking]:
        raise LookupError

    with pytest.raises(LookupError):
        await bench.database.fan_outs.step("org_1", 1, fail)
    assert not await bench.claim()
    assert await step(bench, 5) == FanOutStep(uid, 2, 2)


async def test_organizations_take_turns_and_those_that_rest_are_passed_over(bench: Bench) -> None:
    for name in ("org_2", "org_3"):
        await bench.administration.create_organization(name)
    for number, name in enumerate(("org_1", "org_1", "org_3", "org_2")):
        await deferred(bench, id=f"evt_{number}", organization_id=name)
    assert await owners(bench) == "org_1"
    assert await owners(bench, "org_1") == "org_2"
    assert await owners(bench, "org_1", ["org_2"]) == "org_3"
    assert await owners(bench, "org_3") is None
    assert await owners(bench, "", ["org_1", "org_2", "org_3"]) is None


async def test_the_oldest_event_of_an_organization_comes_first(bench: Bench) -> None:
    await bench.endpoint("a")
    uids = [await deferred(bench, id=f"evt_{number}") for number in range(3)]
    assert [(await step(bench)).event_uid for _ in uids] == uids


async def test_a_deferred_event_that_comes_again_is_a_no_op(bench: Bench) -> None:
    await bench.endpoint("a")
    uid = await deferred(bench)
    again = Recording(new_uid(), event_of(), None, is_deferred=True)
    assert (await bench.record(again)).dispositions == (Disposition.DUPLICATE,)
    assert (await step(bench)).event_uid == uid
    assert (await bench.record(again)).dispositions == (Disposition.DUPLICATE,)
    assert await owners(bench) is None
    assert len(await bench.claim()) == 1


async def test_a_paused_endpoint_gets_it_when_it_resumes(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    await bench.administration.pause_endpoint("org_1", endpoint_id, True)  # noqa: FBT003
    await deferred(bench)
    await step(bench)
    assert not await bench.claim()
    await bench.administration.pause_endpoint("org_1", endpoint_id, False)  # noqa: FBT003
    assert len(await bench.claim()) == 1


# --------------------------------------------------------------------------- PostgreSQL only


@pytest.fixture
async def real(in_postgres: InPostgres) -> Bench:
    await in_postgres.administration.create_organization("org_1")
    return Bench(in_postgres)


async def test_workers_share_an_organizations_fan_outs(real: Bench, database_url: str) -> None:
    """While one is at the oldest, another takes the next; with a single one it finds none."""
    await real.endpoint("a")
    first, second = [await deferred(real, id=f"evt_{number}") for number in range(2)]
    steps: list[FanOutStep | None] = []

    async def meanwhile(_: bytes, asking: Sequence[Asking]) -> Sequence[Asking]:
        steps.append(await real.database.fan_outs.step("org_1", 10, everyone))
        steps.append(await real.database.fan_outs.step("org_1", 10, everyone))
        return asking

    steps.append(await real.database.fan_outs.step("org_1", 10, meanwhile))
    assert steps == [FanOutStep(second, 1, 1), None, FanOutStep(first, 1, 1)]
    assert len(await real.claim()) == 2


async def test_a_process_that_dies_in_a_step_repeats_nothing_and_skips_nothing(
    real: Bench, in_postgres: InPostgres
) -> None:
    endpoints = {await real.endpoint(name) for name in "abcde"}
    await deferred(real)
    await step(real, 2)

    async def cut_off(_: bytes, asking: Sequence[Asking]) -> Sequence[Asking]:
        async with driver(in_postgres._engine) as other:
            await other.execute(
                """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND state LIKE 'idle in %'"""
            )
        return asking

    with pytest.raises(UnavailableError):
        await real.database.fan_outs.step("org_1", 2, cut_off)
    while await owners(real):
        await step(real, 2)
    got = [endpoint_id for endpoint_id, _ in await receivers(real)]
    assert (len(got), set(got)) == (5, endpoints)


async def test_what_is_past_retention_is_dropped(real: Bench, in_postgres: InPostgres) -> None:
    await real.endpoint("a")
    uid = await deferred(real)
    async with driver(in_postgres._engine) as connection:
        await connection.execute("DELETE FROM events")
    assert await step(real) == FanOutStep(uid, 0, 0)
    assert await owners(real) is None


async def test_latency_counts_from_the_event(real: Bench, in_postgres: InPostgres) -> None:
    await real.endpoint("a")
    await deferred(real)
    received_at = datetime(2026, 1, 1, tzinfo=UTC)
    async with driver(in_postgres._engine) as connection:
        await connection.execute("UPDATE events SET received_at = $1", received_at)
    await step(real)
    (claim,) = await real.claim()
    assert claim.delivery.created_at == received_at
