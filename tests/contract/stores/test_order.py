"""Order by key, across workers: one suite for the fake and for PostgreSQL."""

import asyncio
from collections.abc import Sequence

import pytest

from service.core.deliveries.delivery import DeliveryKey, State
from service.core.deliveries.settlement import Cancel, Release, Settled, completed
from service.core.endpoints.gates.breaker import BreakerLimits
from service.core.reason import Reason
from service.core.replays.job import ReplayJob, ReplayState, ReplayWish
from service.ports.store import Claimed, DeliveryStore
from tests.contract.stores.line_walk import WAIT_SECONDS, about, done
from tests.contract.stores.rig import Bench
from tests.fakes.actor import SOMEBODY
from tests.fakes.events import EXAMPLE_DATA
from tests.fakes.settlements import LOST, settled_by

pytestmark = pytest.mark.clock


async def ordered(bench: Bench, name: str = "a", *, order_by: str | None = "data.message.id") -> str:
    endpoint_id = await bench.endpoint(name)
    await bench.administration.order_endpoint(endpoint_id, order_by, wait_seconds=WAIT_SECONDS)
    return endpoint_id


async def recorded(bench: Bench, *keys: str, ages: Sequence[int] = ()) -> list[DeliveryKey]:
    """An event about each of these messages, recorded together; the first is the oldest, unless ``ages`` say more."""
    recordings = [
        await bench.recording(**about(key, age)) for key, age in zip(keys, ages or range(len(keys), 0, -1), strict=True)
    ]
    await bench.record(*recordings)
    return [new.delivery.key for recording in recordings for new in recording.deliveries]


def keys(claims: Sequence[Claimed]) -> list[DeliveryKey]:
    return [claim.delivery.key for claim in claims]


async def claim_all(bench: Bench, by: DeliveryStore | None = None) -> list[DeliveryKey]:
    return keys(await bench.claim(by=by))


# --------------------------------------------------------------------------- who is first goes first


async def test_the_next_of_a_key_is_claimed_when_the_one_before_has_ended(bench: Bench) -> None:
    await ordered(bench)
    first, second, third = await recorded(bench, "m", "m", "m")
    other = bench.database.store("worker-2")
    for expected in (first, second, third):
        claim = await bench.claim_one()
        assert claim.delivery.key == expected
        assert claim.line is not None
        assert not await bench.claim(by=other)
        assert await bench.settle(done(claim)) == [True]
    assert not await bench.claim()


async def test_keys_do_not_wait_for_each_other(bench: Bench) -> None:
    await ordered(bench)
    made = await recorded(bench, "m", "n", "m", "o", "n")
    claims = await bench.claim()
    assert sorted(keys(claims), key=made.index) == [made[0], made[1], made[3]]


async def test_of_what_waits_the_earliest_event_goes_first(bench: Bench) -> None:
    """Two workers record what one producer published: the later event first."""
    await ordered(bench)
    (begun,) = await recorded(bench, "m", ages=[5])
    claim = await bench.claim_one()
    (late,) = await recorded(bench, "m", ages=[3])
    (early,) = await recorded(bench, "m", ages=[7])
    (same,) = await recorded(bench, "m", ages=[7])
    order = [claim.delivery.key]
    for _ in range(3):
        await bench.settle(done(claim))
        claim = await bench.claim_one()
        order.append(claim.delivery.key)
    assert order == [begun, early, same, late]


async def test_workers_that_claim_at_once_take_one_of_a_key(bench: Bench) -> None:
    await ordered(bench)
    await recorded(bench, *("m", "n", "o") * 5)
    workers = [bench.database.store(f"worker-{n}") for n in range(4)]
    for _ in range(5):
        found = await asyncio.gather(*(bench.claim(by=each) for each in workers for _ in range(3)))
        claims = [claim for claims in found for claim in claims] + list(await bench.claim())
        assert len(claims) == len({claim.line for claim in claims}) == 3
        await asyncio.gather(*(bench.settle(done(claim)) for claim in claims))
    assert not await bench.claim()


async def test_an_event_without_the_key_waits_for_nobody(bench: Bench) -> None:
    await ordered(bench, order_by="data.message.thread")
    made = await recorded(bench, "m", "m")
    assert set(await claim_all(bench)) == set(made)


async def test_other_endpoints_do_not_wait(bench: Bench) -> None:
    await ordered(bench)
    await bench.endpoint("b")
    await recorded(bench, "m", "m")
    assert len(await bench.claim()) == 3


async def test_lines_of_different_endpoints_are_different(bench: Bench) -> None:
    await ordered(bench)
    await ordered(bench, "b")
    await recorded(bench, "m", "m")
    assert len(await bench.claim()) == 2


async def test_never_more_than_the_share(bench: Bench) -> None:
    await ordered(bench)
    await recorded(bench, *(f"m{n}" for n in range(10)))
    assert len(await bench.claim(per_endpoint_limit=4)) == 4
    assert len(await bench.claim()) == 6


# --------------------------------------------------------------------------- a head that fails


async def test_a_head_that_failed_is_tried_again_before_the_next(bench: Bench) -> None:
    await ordered(bench)
    first, second = await recorded(bench, "m", "m")
    await bench.settle(done(await bench.claim_one(), 500))
    assert not await bench.claim()
    await bench.database.pass_time(10)
    claim = await bench.claim_one()
    assert claim.delivery.key == first
    await bench.settle(done(claim))
    assert await claim_all(bench) == [second]


async def test_a_head_that_failed_holds_up_its_own_key_only(bench: Bench) -> None:
    await ordered(bench)
    made = await recorded(bench, "m", "n", "m", "n")
    await bench.settle(*(done(claim, 500 if claim.delivery.key == made[0] else 200) for claim in await bench.claim()))
    assert await claim_all(bench) == [made[3]]


async def test_a_head_that_failed_gives_way_in_time(bench: Bench) -> None:
    await ordered(bench)
    made = await recorded(bench, "m", "m", "m")
    claim = await bench.claim_one()
    while claim.delivery.key == made[0]:  # 0, 5, 20 and 65 seconds after it failed first
        await bench.settle(done(claim, 500))
        claims: Sequence[Claimed] = ()
        while not claims:
            await bench.database.pass_time(1)
            claims = await bench.claim()
        (claim,) = claims
    assert claim.delivery.key == made[1]
    await bench.settle(done(claim))
    assert await claim_all(bench) == [made[2]]
    await bench.database.pass_time(1000)
    assert await claim_all(bench) == [made[0]], "it is still tried, in no order"


async def test_a_head_that_is_due_goes_before_it_gives_way(bench: Bench) -> None:
    """A pause of the endpoint, however long, costs no order."""
    endpoint_id = await ordered(bench)
    first, second = await recorded(bench, "m", "m")
    await bench.settle(done(await bench.claim_one(), 500))
    await bench.administration.pause_endpoint("org_1", endpoint_id, True)  # noqa: FBT003
    await bench.database.pass_time(WAIT_SECONDS + 1000)
    assert not await bench.claim()
    assert not await bench.claim_again([endpoint_id])
    await bench.administration.pause_endpoint("org_1", endpoint_id, False)  # noqa: FBT003
    claim = await bench.claim_one()
    assert claim.delivery.key == first
    assert not await bench.claim()
    await bench.settle(done(claim, 500))
    assert await claim_all(bench) == [second], "it has had its time"


async def test_a_head_that_is_dead_is_followed(bench: Bench) -> None:
    await ordered(bench)
    _, second = await recorded(bench, "m", "m")
    claim = await bench.claim_one()
    await bench.settle(
        completed(Settled(claim.delivery, claim.claim_number, Cancel(Reason.GONE), None), None, claim.line)
    )
    assert await claim_all(bench) == [second]


# --------------------------------------------------------------------------- workers that are lost


async def test_nobody_overtakes_a_head_whose_worker_is_lost(bench: Bench) -> None:
    await ordered(bench)
    first, second = await recorded(bench, "m", "m")
    lost = await bench.claim_one()
    await bench.database.pass_time(61)
    assert not await bench.claim()
    (rescued,) = await bench.store.rescue(10)
    assert rescued.line == lost.line
    assert not await bench.claim()
    await bench.settle(done(rescued, LOST))
    assert not await bench.claim()
    await bench.database.pass_time(6)
    claim = await bench.claim_one()
    assert claim.delivery.key == first
    assert await bench.settle(done(lost, 500)) == [False], "the stopped worker comes back"
    assert not await bench.claim(), "and moves nothing"
    await bench.settle(done(claim))
    assert await claim_all(bench) == [second]


async def test_a_late_success_of_a_lost_head_is_a_fact_and_lets_the_next_go(bench: Bench) -> None:
    await ordered(bench)
    _, second = await recorded(bench, "m", "m")
    lost = await bench.claim_one()
    await bench.database.pass_time(61)
    (rescued,) = await bench.store.rescue(10)
    await bench.settle(done(rescued, LOST))
    assert await bench.settle(done(lost)) == [True]
    assert await claim_all(bench) == [second]


async def test_a_head_that_is_given_back_is_still_the_head(bench: Bench) -> None:
    await ordered(bench)
    first, _ = await recorded(bench, "m", "m", ages=[2, 1])
    claim = await bench.claim_one()
    await recorded(bench, "m", ages=[9])
    await bench.settle(completed(Settled(claim.delivery, claim.claim_number, Release(), None), None, claim.line))
    assert await claim_all(bench) == [first]


# --------------------------------------------------------------------------- changes


async def test_what_was_recorded_in_order_stays_in_order_when_the_endpoint_asks_no_more(bench: Bench) -> None:
    endpoint_id = await ordered(bench)
    first, second = await recorded(bench, "m", "m")
    await bench.administration.order_endpoint(endpoint_id, None)
    later = await recorded(bench, "m", "m")
    claims = await bench.claim()
    assert set(keys(claims)) == {first, *later}
    await bench.settle(*map(done, claims))
    assert await claim_all(bench) == [second]


async def test_what_was_recorded_before_the_endpoint_asked_stands_in_no_line(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    before = await recorded(bench, "m", "m")
    await bench.administration.order_endpoint(endpoint_id, "data.message.id")
    first, _ = await recorded(bench, "m", "m")
    assert set(await claim_all(bench)) == {*before, first}


async def test_a_removed_endpoint_leaves_nothing_behind(bench: Bench) -> None:
    endpoint_id = await ordered(bench)
    made = await recorded(bench, "m", "m", "m")
    claim = await bench.claim_one()
    assert await bench.administration.remove_endpoint("org_1", endpoint_id)
    await bench.settle(done(claim))
    assert [(await bench.show(each)).state for each in made] == [State.DELIVERED, State.CANCELLED, State.CANCELLED]
    assert not await bench.claim()


async def test_limits_and_order_hold_together(bench: Bench) -> None:
    endpoint_id = await ordered(bench)
    await bench.administration.limit_endpoint(endpoint_id, in_flight=2)
    await recorded(bench, *("m", "n", "o") * 2)
    counts = []
    for _ in range(6):
        claims = await bench.claim_again([endpoint_id])
        assert len(claims) == len({claim.line for claim in claims})
        counts.append(len(claims))
        await bench.settle(*map(done, claims))
    assert sum(counts) == 6
    assert max(counts) == 2


async def test_who_was_put_off_behind_a_cancelled_head_is_looked_at_at_once(bench: Bench) -> None:
    """The head has failed, so the next has a time to wait; then a 410 ends the head's subscription."""
    endpoint_id = await bench.endpoint("a", ["message.sent", "message.delivered"])
    await bench.administration.order_endpoint(endpoint_id, "data.message.id", wait_seconds=WAIT_SECONDS)
    (head,) = await recorded(bench, "m")
    await bench.settle(done(await bench.claim_one(), 500))
    data = {"message": EXAMPLE_DATA["message.delivered"]["message"] | {"id": "m"}}
    later = await bench.recording(type="message.delivered", data=data)
    await bench.record(later)
    assert not await bench.claim(), "the head is to be tried again first"
    await recorded(bench, "n")
    gone = settled_by(await bench.claim_one(), 410, target_url="https://a.example/")
    await bench.settle(gone)
    assert (await bench.show(head)).state is State.CANCELLED
    assert await claim_all(bench) == [later.deliveries[0].delivery.key]


# --------------------------------------------------------------------------- with what else holds deliveries back


async def broken(bench: Bench, *by: DeliveryStore) -> None:
    """The breaker of the one endpoint opens: three lines have failed."""
    claims = await bench.claim(by=by[0])
    assert len(claims) == 3
    await bench.settle(*(done(claim, 503) for claim in claims), by=by[0])
    assert not [claim for each in by for claim in await bench.claim(by=each)]


async def test_a_breaker_tries_the_head_of_a_line_and_what_follows_keeps_its_order(bench: Bench) -> None:
    one, other = (
        bench.database.store(name, breaker=BreakerLimits(failures=3, open_seconds=60))
        for name in ("worker-1", "worker-2")
    )
    await ordered(bench)
    made = await recorded(bench, *("m", "n", "o") * 3)
    await broken(bench, one, other)
    await bench.database.pass_time(61)
    in_flight = [claim for each in (one, other) for claim in await bench.claim(by=each)]
    (probe,) = in_flight
    assert probe.delivery.key in made[:3]
    assert probe.grant is not None
    assert probe.line is not None
    ended: list[DeliveryKey] = []
    most = 0
    while in_flight:
        claim = in_flight.pop(0)
        await bench.settle(done(claim), by=one)
        ended.append(claim.delivery.key)
        in_flight += [claim for each in (other, one) for claim in await bench.claim(by=each)]
        assert len(in_flight) == len({claim.line for claim in in_flight}), "two of a line at once"
        most = max(most, len(in_flight))
    assert most == 3, "the lines bound it"
    for line in range(3):
        assert [key for key in ended if key in made[line::3]] == made[line::3]


async def test_a_probe_that_fails_is_tried_again_before_the_next_of_its_line(bench: Bench) -> None:
    store = bench.database.store(breaker=BreakerLimits(failures=1, open_seconds=60))
    endpoint_id = await ordered(bench)
    first, second = await recorded(bench, "m", "m")
    await bench.settle(done(await bench.claim_one(), 503), by=store)
    assert not await bench.claim_again([endpoint_id])
    await bench.database.pass_time(61)
    (probe,) = await bench.claim_again([endpoint_id])
    assert probe.delivery.key == first
    await bench.settle(done(probe, 503), by=store)
    await bench.database.pass_time(110)
    assert not await bench.claim(by=store), "twice as long"
    await bench.database.pass_time(15)
    (probe,) = await bench.claim(by=store)
    assert probe.delivery.key == first, "what waited for the breaker has not given way"
    await bench.settle(done(probe), by=store)
    assert await claim_all(bench, by=store) == [second]


async def test_an_endpoint_recovers_in_order(bench: Bench) -> None:
    """Its replay job makes what failed again: in line, earliest first, and after what is on its way."""
    endpoint_id = await ordered(bench)
    made = await recorded(bench, *("m", "n") * 4)
    while claims := await bench.claim():
        await bench.settle(*(done(claim, 413) for claim in claims))
        await bench.database.pass_time(100_000)
    (begun,) = await recorded(bench, "m")
    claims = [await bench.claim_one()]
    job = await bench.database.replay_jobs.create("org_1", ReplayWish(rate=1000, endpoint_id=endpoint_id), by=SOMEBODY)
    assert isinstance(job, ReplayJob)
    for _ in range(3):
        await bench.database.replays.step("org_1", "")
        await bench.database.pass_time(1)
    ended: list[DeliveryKey] = []
    while claims := [*claims, *await bench.claim()]:
        assert len(claims) == len({claim.line for claim in claims}), "in line, one at a time"
        ended += keys(claims)
        await bench.settle(*map(done, claims))
        claims = []
        await bench.database.replays.step("org_1", "")
        await bench.database.pass_time(1)
    found = await bench.database.replay_jobs.find("org_1", job.id)
    assert found is not None
    assert (found.state, found.created_count) == (ReplayState.DONE, 8)
    again = [DeliveryKey(key.event_uid, key.subscription_id, 1) for key in made]
    assert [key for key in ended if key not in again[1::2]] == [begun, *again[::2]]
    assert [key for key in ended if key in again[1::2]] == again[1::2]
