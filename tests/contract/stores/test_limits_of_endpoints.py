"""The limits an endpoint asks for, across workers: one suite for the fake and for PostgreSQL."""

import asyncio

import pytest

from service.core.deliveries.delivery import State
from service.core.deliveries.settlement import Cancel, Release, Settled, freeing_place
from service.core.reason import Reason
from service.ports.store import Claimed
from tests.contract.stores.rig import Bench, lease_of
from tests.fakes.settlements import settled_by

pytestmark = pytest.mark.clock


async def limited(bench: Bench, *, per_second: float | None = None, in_flight: int | None = None) -> str:
    endpoint_id = await bench.endpoint("a")
    await bench.administration.limit_endpoint(endpoint_id, per_second=per_second, in_flight=in_flight)
    return endpoint_id


def done(claim: Claimed, reply: int = 200) -> Settled:
    """The settlement as a worker writes it: it frees the place."""
    assert claim.grant is not None
    return freeing_place(settled_by(claim, reply))


def given_back(claim: Claimed) -> Settled:
    """The lease is given back, no request begun."""
    return freeing_place(Settled(claim.delivery, claim.claim_number, Release(), None))


# --------------------------------------------------------------------------- max_in_flight


async def test_no_more_are_leased_than_there_are_places(bench: Bench) -> None:
    await limited(bench, in_flight=3)
    await bench.pending(10)
    other = bench.database.store("worker-2")
    first = await bench.claim()
    assert len(first) == 3
    assert not await bench.claim(by=other)
    assert await bench.settle(done(first[0]), done(first[1], 500)) == [True, True]
    assert len(await bench.claim(by=other)) == 2
    assert not await bench.claim()


async def test_workers_that_claim_at_once_share_the_places(bench: Bench) -> None:
    await limited(bench, in_flight=5)
    await bench.pending(20)
    workers = [bench.database.store(f"worker-{n}") for n in range(4)]
    found = await asyncio.gather(*(bench.claim(by=each) for each in workers for _ in range(4)))
    claims = [claim for claims in found for claim in claims]
    assert 0 < len(claims) <= 5
    claims += await bench.claim()
    assert len(claims) == 5


async def test_other_endpoints_do_not_wait_for_a_limited_one(bench: Bench) -> None:
    one = await limited(bench, in_flight=1)
    other = await bench.endpoint("other", ["message.replied"])
    await bench.pending(3)
    await bench.pending(3, type="message.replied")
    assert [claim.delivery.endpoint_id for claim in await bench.claim()].count(one) == 1
    assert {claim.delivery.endpoint_id for claim in await bench.claim(2)} <= {other}


async def test_a_place_is_free_again_once_its_lease_is_given_back(bench: Bench) -> None:
    await limited(bench, in_flight=1)
    await bench.pending(2)
    for _ in range(3):
        claim = await bench.claim_one()
        assert not await bench.claim()
        assert await bench.settle(given_back(claim)) == [True]


async def test_a_place_is_held_as_long_as_its_lease(bench: Bench) -> None:
    await limited(bench, in_flight=1)
    await bench.pending(2)
    await bench.claim_one()
    await bench.database.pass_time(59)
    assert not await bench.claim()
    await bench.database.pass_time(2)
    other = bench.database.store("worker-2")
    (lost,) = await other.rescue(10)
    assert await bench.settle(settled_by(lost), by=other) == [True]
    assert len(await bench.claim(by=other)) == 1


async def test_a_late_success_frees_only_the_place_of_its_own_lease(bench: Bench) -> None:
    """A worker was stopped past its lease. Its 2xx ends the delivery, which another worker is sending just then."""
    await limited(bench, in_flight=1)
    await bench.pending(2)
    stopped = await bench.claim_one()
    key = stopped.delivery.key
    await bench.database.pass_time(61)
    other = bench.database.store("worker-2")
    (lost,) = await other.rescue(10)
    await bench.settle(Settled(lost.delivery, lost.claim_number, Release(), None))
    again = await bench.claim_one(by=other)
    while again.delivery.key != key:  # which of the two is due first is not promised
        await bench.settle(done(again), by=other)
        again = await bench.claim_one(by=other)

    assert await bench.settle(done(stopped)) == [True]

    assert (await bench.show(key)).state is State.DELIVERED
    await bench.pending(1)
    assert not await bench.claim(), "the other worker's request is still in flight"
    await bench.settle(done(again), by=other)
    assert len(await bench.claim()) == 1


async def test_a_commit_whose_answer_was_lost_frees_a_place_once(bench: Bench) -> None:
    await limited(bench, in_flight=2)
    await bench.pending(6)
    first, second = await bench.claim()
    await bench.settle(done(first))
    await bench.settle(done(first))
    assert len(await bench.claim()) == 1
    await bench.settle(done(second))
    assert len(await bench.claim()) == 1


async def test_what_was_leased_before_the_limit_counts(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    born = await bench.recording(wants_lease=True)
    await bench.record(born)
    await bench.pending(5)
    before = await bench.claim(1)
    await bench.administration.limit_endpoint(endpoint_id, in_flight=3)
    assert len(await bench.claim()) == 1, "two of the three places are taken already"
    assert not await bench.claim()
    await bench.settle(*map(settled_by, before))
    assert len(await bench.claim()) == 1
    assert await bench.settle(settled_by(Claimed(lease_of(born).delivery, 1, 0))) == [True]
    assert len(await bench.claim()) == 1


async def test_a_limit_that_is_changed_or_cleared_holds_from_the_next_claim(bench: Bench) -> None:
    endpoint_id = await limited(bench, in_flight=4)
    await bench.pending(20)
    claims = [*await bench.claim()]
    await bench.administration.limit_endpoint(endpoint_id, in_flight=2)
    await bench.settle(done(claims.pop()))
    assert not await bench.claim()
    await bench.administration.limit_endpoint(endpoint_id, in_flight=5)
    assert len(await bench.claim()) == 2
    await bench.administration.limit_endpoint(endpoint_id)
    free = await bench.claim()
    assert len(free) == 14
    assert {claim.grant for claim in free} == {None}
    assert await bench.settle(*map(done, claims), *map(settled_by, free)) == [True] * 17


async def test_an_intake_that_does_not_know_of_the_limit_records_nothing(bench: Bench) -> None:
    """So a delivery is born leased only where the endpoint has no limits."""
    endpoint_id = await bench.endpoint("a")
    recording = await bench.recording(wants_lease=True)
    await bench.administration.limit_endpoint(endpoint_id, in_flight=1)
    assert (await bench.store.record([recording])).stale == {"org_1"}


# --------------------------------------------------------------------------- rate_limit_per_second


async def test_a_rate_lets_one_through_after_the_other(bench: Bench) -> None:
    await limited(bench, per_second=0.5)
    await bench.pending(5)
    other = bench.database.store("worker-2")
    claim = await bench.claim_one()
    assert claim.grant is not None
    assert claim.grant.must_begin_promptly
    assert claim.grant.opens_in_seconds == pytest.approx(2, abs=0.5)
    await bench.settle(done(claim))
    assert not await bench.claim(by=other), "another worker, and the place is free: but the rate is used up"
    await bench.database.pass_time(2.1)
    await bench.settle(done(await bench.claim_one(by=other)))
    assert not await bench.claim()


async def test_a_burst_is_small_however_long_nothing_was_sent(bench: Bench) -> None:
    await limited(bench, per_second=20)
    await bench.database.pass_time(3600)
    await bench.pending(50)
    claims = await bench.claim()
    assert len(claims) == 6, "a quarter of a second's worth, and one"


async def test_retries_count(bench: Bench) -> None:
    await limited(bench, per_second=0.01)
    await bench.pending(1)
    await bench.settle(done(await bench.claim_one(), 500))
    await bench.database.pass_time(50)
    assert not await bench.claim()
    await bench.database.pass_time(60)
    assert len(await bench.claim()) == 1


async def test_what_was_not_sent_is_not_counted(bench: Bench) -> None:
    await limited(bench, per_second=0.01)
    await bench.pending(3)
    for _ in range(3):
        await bench.settle(given_back(await bench.claim_one()))
    claim = await bench.claim_one()
    unwanted = Settled(claim.delivery, claim.claim_number, Cancel(Reason.SUBSCRIPTION_DELETED), None)
    await bench.settle(freeing_place(unwanted))
    await bench.settle(freeing_place(unwanted))
    await bench.settle(done(await bench.claim_one()))
    assert not await bench.claim()


async def test_looking_again_for_some_endpoints_keeps_to_all_limits(bench: Bench) -> None:
    by_places = await limited(bench, in_flight=1)
    by_rate = await bench.endpoint("b")
    await bench.administration.limit_endpoint(by_rate, per_second=0.01)
    paused = await bench.endpoint("c")
    await bench.administration.limit_endpoint(paused, in_flight=1)
    await bench.administration.pause_endpoint("org_1", paused, True)  # noqa: FBT003
    unlimited = await bench.endpoint("d")
    await bench.pending(3)
    endpoints = [by_places, by_rate, paused, unlimited]
    claims = await bench.claim_again(endpoints)
    assert sorted(claim.delivery.endpoint_id for claim in claims) == sorted([by_places, by_rate])
    assert not await bench.claim_again(endpoints)
    await bench.settle(*map(done, claims))
    assert [claim.delivery.endpoint_id for claim in await bench.claim_again(endpoints)] == [by_places]


# --------------------------------------------------------------------------- what people see


async def test_what_waits_for_a_limit_is_not_a_backlog_of_ours(bench: Bench) -> None:
    await limited(bench, per_second=0.01)
    by_places = await bench.endpoint("b", ["message.replied"])
    await bench.administration.limit_endpoint(by_places, in_flight=1)
    await bench.pending(3)
    await bench.pending(4, type="message.replied")
    assert len(await bench.claim()) == 2
    await bench.database.pass_time(10)
    backlog = await bench.store.backlog()
    assert (backlog.due_count, backlog.gated_count) == (0, 5)
    assert dict(backlog.gates) == {"rate_limit": 1, "max_in_flight": 1}
    await bench.database.pass_time(200)
    assert (await bench.store.backlog()).due_count == 5, "nobody claims: now it is"


async def test_an_endpoint_that_ends_leaves_no_limit_behind(bench: Bench) -> None:
    endpoint_id = await limited(bench, in_flight=1)
    await bench.pending(1)
    claim = await bench.claim_one()
    assert await bench.administration.remove_endpoint("org_1", endpoint_id)
    assert await bench.settle(done(claim)) == [True]
    assert not (await bench.store.backlog()).gates
