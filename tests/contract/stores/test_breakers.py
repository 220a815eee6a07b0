"""What a store remembers of endpoints that fail, shared by all workers, and how their breakers hold deliveries back."""

import asyncio
from collections.abc import Sequence

from service.core.deliveries.delivery import State
from service.core.deliveries.request import Fault
from service.core.deliveries.settlement import freeing_place
from service.core.endpoints.gates.breaker import BreakerLimits, BreakerState
from service.core.reason import Reason
from service.ports.store import Claimed, DeliveryStore
from tests.contract.stores.rig import Bench
from tests.fakes.settlements import INTERNAL, LOST, released, settled_by


async def test_an_endpoint_fails_since_its_first_failure_until_its_next_success(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    other = bench.database.store("worker-2")
    await bench.pending(4)
    first, second, third, fourth = await bench.claim()
    assert await bench.database.breaker(endpoint_id) is None
    await bench.settle(settled_by(first, 500))
    began = await bench.database.breaker(endpoint_id)
    assert began is not None
    await bench.settle(settled_by(second, 404), settled_by(third, Fault(Reason.TIMEOUT, 1)), by=other)
    told = await bench.database.breaker(endpoint_id)
    assert told is not None
    assert (told.failing_since, began.attempts_failed, told.attempts_failed) == (began.failing_since, 1, 3)
    await bench.settle(settled_by(fourth), by=other)
    assert await bench.database.breaker(endpoint_id) is None


async def test_a_success_that_comes_with_failures_ends_them(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    await bench.pending(2)
    bad, good = await bench.claim()
    await bench.settle(settled_by(bad, 500), settled_by(good))
    assert await bench.database.breaker(endpoint_id) is None


async def test_neither_our_own_faults_nor_what_was_not_sent_count(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    await bench.pending(3)
    faulty, lost, unsent = await bench.claim()
    await bench.settle(settled_by(faulty, INTERNAL), settled_by(lost, LOST), released(unsent))
    assert await bench.database.breaker(endpoint_id) is None


async def test_a_failure_that_comes_late_counts(bench: Bench) -> None:
    """Whatever became of the delivery meanwhile, the receiver failed."""
    endpoint_id = await bench.endpoint("a")
    await bench.pending()
    stopped = await bench.claim_one()
    await bench.settle(released(stopped))
    await bench.settle(settled_by(await bench.claim_one(), 500))
    await bench.settle(settled_by(stopped, 500))
    told = await bench.database.breaker(endpoint_id)
    assert told is not None
    assert told.attempts_failed == 2


async def test_who_is_removed_is_forgotten(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    await bench.pending()
    await bench.settle(settled_by(await bench.claim_one(), 500))
    assert await bench.database.breaker(endpoint_id) is not None
    await bench.database.administration.remove_endpoint("org_1", endpoint_id)
    assert await bench.database.breaker(endpoint_id) is None


LIMITS = BreakerLimits(failures=3, open_seconds=60)


def workers(bench: Bench) -> tuple[DeliveryStore, DeliveryStore]:
    one, other = (bench.database.store(name, breaker=LIMITS) for name in ("worker-1", "worker-2"))
    return one, other


async def outage(bench: Bench, one: DeliveryStore, other: DeliveryStore, waiting: int = 5) -> str:
    """An endpoint whose breaker has just opened, with what waits for it."""
    endpoint_id = await bench.endpoint("a")
    await bench.pending(3)
    first, *others = await bench.claim()
    await bench.settle(settled_by(first, 503), by=one)
    await bench.settle(*(settled_by(each, Fault(Reason.TIMEOUT, 1)) for each in others), by=other)
    await bench.pending(waiting)
    return endpoint_id


async def claimed(bench: Bench, *by: DeliveryStore) -> Sequence[Claimed]:
    return [claim for each in by for claim in await bench.claim(by=each)]


async def test_after_so_many_outages_in_a_row_nothing_is_sent_for_a_while(bench: Bench) -> None:
    one, other = workers(bench)
    endpoint_id = await outage(bench, one, other)
    await bench.database.pass_time(50)  # retries are due by now
    assert not await claimed(bench, one, other)
    backlog = await one.backlog()
    assert (backlog.due_count, backlog.gated_count, dict(backlog.gates)) == (0, 8, {"breaker": 1})
    born = await bench.record(await bench.recording(wants_lease=True), by=one)
    assert not born.leased, "nor is anything born leased"
    told = await bench.database.breaker(endpoint_id)
    assert told is not None
    assert (told.state, told.failures_in_a_row) == (BreakerState.OPEN, 3)


async def test_then_one_delivery_is_tried_over_all_workers(bench: Bench) -> None:
    one, other = workers(bench)
    await outage(bench, one, other)
    await bench.database.pass_time(61)
    (probe,) = await claimed(bench, one, other)
    assert not await claimed(bench, one, other)
    assert probe.grant is not None
    born = await bench.record(await bench.recording(wants_lease=True), by=other)
    assert not born.leased
    await bench.settle(freeing_place(settled_by(probe, 500)), by=one)
    assert not await claimed(bench, one, other), "it failed: twice as long"
    await bench.database.pass_time(100)
    assert not await claimed(bench, one, other)
    await bench.database.pass_time(21)
    assert len(await claimed(bench, one, other)) == 1


async def test_a_success_lets_two_through_then_three_and_in_the_end_all(bench: Bench) -> None:
    one, other = workers(bench)
    endpoint_id = await outage(bench, one, other, waiting=100)
    await bench.database.pass_time(61)
    in_flight = list(await claimed(bench, one, other))
    most = [len(in_flight)]
    while await bench.database.breaker(endpoint_id) is not None:
        await bench.settle(freeing_place(settled_by(in_flight.pop(0))), by=one)
        in_flight += await claimed(bench, other, one)
        most.append(len(in_flight))
    assert most[:5] == [1, 2, 3, 4, 5]
    assert len(in_flight) > 32, "no bound is left"
    assert not (await one.backlog()).gates
    assert {claim.grant is None for claim in in_flight} == {True, False}


async def test_a_probe_whose_worker_dies_keeps_its_place_until_its_lease_ends(bench: Bench) -> None:
    one, other = workers(bench)
    await outage(bench, one, other)
    await bench.database.pass_time(61)
    (lost,) = await claimed(bench, one)
    await bench.database.pass_time(59)
    assert not await claimed(bench, other)
    await bench.database.pass_time(2)
    assert len(await claimed(bench, other)) == 1, lost.delivery.key


async def test_without_a_number_of_failures_it_never_opens(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    keys = await bench.pending(20)
    await bench.settle(*(settled_by(claim, 500) for claim in await bench.claim()))
    await bench.database.pass_time(10)
    assert len(await bench.claim()) == 20
    told = await bench.database.breaker(endpoint_id)
    assert told is not None
    assert (told.state, told.attempts_failed) == (BreakerState.CLOSED, 20)
    assert {(await bench.show(key)).state for key in keys} == {State.LEASED}


async def test_resuming_tries_one_delivery_at_once_and_forgets_since_when_it_failed(bench: Bench) -> None:
    one, other = workers(bench)
    endpoint_id = await outage(bench, one, other)
    await bench.database.administration.pause_endpoint("org_1", endpoint_id, False)  # noqa: FBT003
    told = await bench.database.breaker(endpoint_id)
    assert told is not None
    assert (told.failing_since, told.state) == (None, BreakerState.OPEN)
    assert len(await claimed(bench, one, other)) == 1


async def test_an_endpoint_keeps_the_limits_it_asks_for(bench: Bench) -> None:
    one, other = workers(bench)
    endpoint_id = await outage(bench, one, other, waiting=9)
    await bench.database.administration.limit_endpoint(endpoint_id, in_flight=2)
    await bench.database.pass_time(61)
    (probe,) = await claimed(bench, one, other)
    await bench.settle(freeing_place(settled_by(probe)), by=one)
    pair = await claimed(bench, one, other)
    assert len(pair) == 2
    await bench.settle(*(freeing_place(settled_by(each)) for each in pair), by=one)
    assert len(await claimed(bench, one, other)) == 2
    await bench.database.administration.limit_endpoint(endpoint_id)
    assert len(await claimed(bench, one, other)) == 2, "its breaker's is still there: four in all"


async def test_a_success_between_failures_of_one_batch_ends_the_row_where_it_came(bench: Bench) -> None:
    one, _ = workers(bench)
    endpoint_id = await bench.endpoint("a")
    await bench.pending(5)
    first, second, good, third, fourth = await bench.claim()
    batch = [
        settled_by(first, 500),
        settled_by(second, 500),
        settled_by(good),
        settled_by(third, 500),
        settled_by(fourth, 500),
    ]
    await bench.settle(*batch, by=one)
    told = await bench.database.breaker(endpoint_id)
    assert told is not None
    assert (told.state, told.failures_in_a_row, told.attempts_failed) == (BreakerState.CLOSED, 2, 2)


async def test_what_was_opened_by_a_batch_is_in_its_ramp_if_a_success_came_last(bench: Bench) -> None:
    one, other = workers(bench)
    endpoint_id = await bench.endpoint("a")
    await bench.pending(8)
    *bad, good = (await bench.claim())[:4]
    await bench.settle(*(settled_by(each, 500) for each in bad), settled_by(good), by=one)
    told = await bench.database.breaker(endpoint_id)
    assert told is not None
    assert (told.state, told.in_flight_max, told.failing_since) == (BreakerState.RAMP, 2, None)
    assert dict((await other.backlog()).gates) == {"breaker": 1}


async def test_a_late_failure_of_a_removed_endpoint_shuts_nothing(bench: Bench) -> None:
    """Otherwise what is left would wait behind it instead of being cancelled by the next claim."""
    one, _ = workers(bench)
    endpoint_id = await bench.endpoint("a")
    await bench.pending(4)
    claims = await bench.claim(3)
    await bench.database.administration.remove_endpoint("org_1", endpoint_id)
    await bench.settle(*(settled_by(each, 500) for each in claims), by=one)
    assert await bench.database.breaker(endpoint_id) is None
    assert not (await one.backlog()).gates


async def test_settlements_that_touch_the_same_endpoints_in_any_order_do_not_wait_for_each_other(bench: Bench) -> None:
    """One opens a breaker where another gives a place back, and the other way round."""
    one, other = (bench.database.store(name, breaker=BreakerLimits(failures=1)) for name in ("worker-1", "worker-2"))
    names = "abcdefgh"
    for name in names:
        await bench.database.administration.limit_endpoint(await bench.endpoint(name), in_flight=10)
    for _ in range(5):
        await bench.pending(4)
        of: dict[str, list[Claimed]] = {}
        await bench.database.pass_time(4000)
        for claim in await claimed(bench, one):
            of.setdefault(claim.delivery.endpoint_id, []).append(claim)
        there, back = list(of.values()), list(of.values())[::-1]
        half = len(there) // 2
        mine = [freeing_place(settled_by(each[0], 500)) for each in there[:half]]
        mine += [freeing_place(released(each[-1])) for each in there[half:] if len(each) > 1]
        theirs = [freeing_place(settled_by(each[0], 500)) for each in back[:half]]
        theirs += [freeing_place(released(each[-1])) for each in back[half:] if len(each) > 1]
        await asyncio.gather(bench.settle(*mine, by=one), bench.settle(*theirs, by=other))
