"""The DeliveryStore port: one suite for the fake and for PostgreSQL."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from msgspec import structs

from service.core.deliveries.delivery import OPEN_STATES, State
from service.core.deliveries.effect import BringForward
from service.core.deliveries.request import Fault
from service.core.deliveries.settlement import Cancel, Release, Settled
from service.core.endpoints.retry_schedule import RetrySchedule
from service.core.reason import Reason
from service.ports.errors import UnavailableError
from service.ports.store import Claimed, DeliveryStore, Disposition
from tests.contract.stores.rig import (
    Bench,
    claimed,
    is_same,
    lease_of,
)
from tests.fakes.settlements import INTERNAL, LOST, lease_for, released, settled_by

pytestmark = pytest.mark.clock

LONG_SECONDS = 100 * 24 * 3600.0


async def test_the_store_tells_its_own_clock(bench: Bench) -> None:
    first, second = [await bench.database.store().now() for _ in range(2)]
    assert first.utcoffset() == timedelta(0)
    assert first <= second


# --------------------------------------------------------------------------- record


async def test_an_event_is_recorded_with_one_delivery_per_subscription(bench: Bench) -> None:
    await bench.endpoint("a")
    await bench.endpoint("b")
    await bench.endpoint("other", ["message.replied"])
    recording = await bench.recording()

    recorded = await bench.record(recording)

    assert recorded.dispositions == (Disposition.RECORDED,)
    assert recorded.leased == frozenset()
    assert len(recording.deliveries) == 2
    assert await bench.database.body(recording.event) == recording.event.body
    for new in recording.deliveries:
        shown = await bench.show(new.delivery.key)
        assert (shown.state, shown.claims_made, shown.attempts_made) == (State.PENDING, 0, 0)


async def test_an_event_without_subscribers_is_recorded_too(bench: Bench) -> None:
    recording = await bench.recording()
    assert (await bench.record(recording)).dispositions == (Disposition.RECORDED,)
    assert await bench.database.body(recording.event) == recording.event.body


async def test_an_event_that_comes_again_is_a_no_op(bench: Bench) -> None:
    await bench.endpoint("a")
    first = await bench.recording(id="evt_same", wants_lease=True)
    await bench.record(first)
    await bench.endpoint("later")
    again = await bench.recording(id="evt_same", wants_lease=True)

    recorded = await bench.record(again)

    assert recorded.dispositions == (Disposition.DUPLICATE,)
    assert recorded.leased == frozenset()
    assert [await bench.database.show(new.delivery.key) for new in again.deliveries] == [None, None]
    assert (await bench.show(first.deliveries[0].delivery.key)).claims_made == 1


async def test_the_same_event_again_with_the_same_uid_is_a_no_op(bench: Bench) -> None:
    """A COMMIT whose answer was lost is recorded again, from memory."""
    await bench.endpoint("a")
    recording = await bench.recording(wants_lease=True)
    await bench.record(recording)
    recorded = await bench.record(recording)
    assert recorded.dispositions == (Disposition.DUPLICATE,)
    assert recorded.leased == frozenset()


async def test_another_event_with_a_known_id_is_a_conflict_and_the_first_stays(bench: Bench) -> None:
    await bench.endpoint("a")
    first = await bench.recording(id="evt_same")
    await bench.record(first)
    second = await bench.recording(id="evt_same", extra="different")
    third = await bench.recording(id="evt_other")

    recorded = await bench.record(second, third)

    assert recorded.dispositions == (Disposition.CONFLICT, Disposition.RECORDED)
    assert await bench.database.body(first.event) == first.event.body
    assert await bench.database.show(second.deliveries[0].delivery.key) is None


async def test_the_same_id_in_two_organizations_are_two_events(bench: Bench) -> None:
    await bench.administration.create_organization("org_2")
    mine = await bench.recording(id="evt_same")
    theirs = await bench.recording(id="evt_same", organization_id="org_2")
    assert (await bench.record(mine, theirs)).dispositions == (Disposition.RECORDED, Disposition.RECORDED)


async def test_a_stale_directory_is_noticed_and_only_its_own_events_wait(bench: Bench) -> None:
    await bench.administration.create_organization("org_2")
    fresh = await bench.recording(organization_id="org_2")
    stale = await bench.recording()
    await bench.endpoint("new")

    recorded = await bench.store.record([fresh, stale])

    assert recorded.dispositions == (Disposition.RECORDED, None)
    assert recorded.stale == {"org_1"}
    again = await bench.recording(id=stale.event.id)
    assert (await bench.record(again, fresh)).dispositions == (Disposition.RECORDED, Disposition.DUPLICATE)
    assert len(await bench.claim()) == 1


@pytest.mark.parametrize("change", ["add", "remove", "pause", "resume"])
async def test_every_change_of_the_directory_makes_copies_stale(bench: Bench, change: str) -> None:
    endpoint_id = await bench.endpoint("a")
    await bench.administration.pause_endpoint("org_1", endpoint_id, change == "resume")
    recording = await bench.recording()
    match change:
        case "add":
            await bench.endpoint("b")
        case "remove":
            assert await bench.administration.remove_endpoint("org_1", endpoint_id)
        case _:
            assert await bench.administration.pause_endpoint("org_1", endpoint_id, change == "pause")
    assert (await bench.store.record([recording])).stale == {"org_1"}


async def test_an_organization_that_does_not_exist_is_stale(bench: Bench) -> None:
    recording = await bench.recording()
    elsewhere = structs.replace(recording, event=structs.replace(recording.event, organization_id="org_nowhere"))
    recorded = await bench.store.record([elsewhere])
    assert recorded.dispositions == (None,)
    assert recorded.stale == {"org_nowhere"}


async def test_a_delivery_is_born_leased_where_that_is_wanted(bench: Bench) -> None:
    await bench.endpoint("a")
    wanted, unwanted = await bench.recording(wants_lease=True), await bench.recording()

    recorded = await bench.record(wanted, unwanted)

    key = wanted.deliveries[0].delivery.key
    assert recorded.leased == {key}
    assert await bench.show(key) == replace(await bench.show(key), state=State.LEASED, claims_made=1)
    assert [claim.delivery.event_id for claim in await bench.claim()] == [unwanted.event.id]
    assert await bench.settle(settled_by(claimed(lease_of(wanted)))) == [True]


async def test_a_delivery_is_not_born_leased_behind_a_gate(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    await bench.administration.pause_endpoint("org_1", endpoint_id, True)  # noqa: FBT003
    recording = await bench.recording(wants_lease=True)

    recorded = await bench.record(recording)

    assert recorded.leased == frozenset()
    assert (await bench.show(recording.deliveries[0].delivery.key)).state is State.PENDING


async def test_workers_recording_the_same_batch_at_once_record_it_once(bench: Bench) -> None:
    await bench.endpoint("a")
    mine = [await bench.recording(id=f"evt_{n}") for n in range(20)]
    theirs = [await bench.recording(id=f"evt_{n}") for n in range(20)]

    other = bench.database.store("worker-2")
    both = await asyncio.gather(bench.record(*mine), bench.record(*theirs, by=other))

    dispositions = [sorted(str(each.dispositions[n]) for each in both) for n in range(20)]
    assert dispositions == [[Disposition.DUPLICATE, Disposition.RECORDED]] * 20
    assert len(await bench.claim()) == 20


# --------------------------------------------------------------------------- claim


async def test_a_claim_carries_all_that_sending_needs(bench: Bench) -> None:
    await bench.endpoint("a")
    recording = await bench.recording()
    await bench.record(recording)

    claim = await bench.claim_one()

    assert is_same(claim.delivery, recording.deliveries[0].delivery)
    assert claim.claim_number == 1
    assert claim.directory_version == recording.directory_version
    assert not await bench.claim()


async def test_a_claim_reports_the_directory_as_it_is_now(bench: Bench) -> None:
    await bench.endpoint("a")
    recording = await bench.recording()
    await bench.record(recording)
    await bench.endpoint("b")
    assert (await bench.claim_one()).directory_version > (recording.directory_version or 0)


async def test_a_claim_keeps_to_its_limits(bench: Bench) -> None:
    for name in "abc":
        await bench.endpoint(name)
    await bench.pending(10)
    assert 0 < len(await bench.claim(5)) <= 5
    for _ in range(10):
        claims = await bench.claim(30, per_endpoint_limit=2)
        per_endpoint = [claim.delivery.endpoint_id for claim in claims]
        assert all(per_endpoint.count(each) <= 2 for each in per_endpoint)
    assert not await bench.claim(0)


async def test_a_claim_is_shared_alike(bench: Bench) -> None:
    """What one endpoint leaves of its share is not dealt to another: both databases deal by the same function."""
    long, short = await bench.endpoint("long", ["message.sent"]), await bench.endpoint("short", ["message.replied"])
    await bench.pending(9)
    await bench.pending(1, type="message.replied")
    served = [claim.delivery.endpoint_id for claim in await bench.claim(8)]
    assert (served.count(long), served.count(short)) == (4, 1)
    assert [claim.delivery.endpoint_id for claim in await bench.claim(8)] == [long] * 5


async def test_who_has_no_share_gets_nothing(bench: Bench) -> None:
    first, second = await bench.endpoint("a"), await bench.endpoint("b")
    await bench.pending(3)
    assert not await bench.store.claim_due(lambda _: {})
    assert not await bench.store.claim_due(lambda _: {first: 0, second: -1})
    assert {claim.delivery.endpoint_id for claim in await bench.store.claim_due(lambda _: {second: 5})} == {second}
    claimed = await bench.store.claim_due(lambda _: {first: 2})
    assert [claim.delivery.endpoint_id for claim in claimed] == [first, first]


async def test_a_long_backlog_of_one_endpoint_keeps_no_other_waiting(bench: Bench) -> None:
    noisy = await bench.endpoint("noisy", ["message.sent"])
    await bench.pending(60)
    quiet = {await bench.endpoint(f"quiet-{n}", ["message.replied"]) for n in range(5)}
    await bench.pending(1, type="message.replied")

    served: list[str] = []
    for _ in range(4):
        served += [claim.delivery.endpoint_id for claim in await bench.claim(4, per_endpoint_limit=2)]

    assert quiet <= set(served)
    assert noisy in served


async def test_nothing_is_claimed_behind_a_gate(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    await bench.pending(2)
    await bench.administration.pause_endpoint("org_1", endpoint_id, True)  # noqa: FBT003
    assert not await bench.claim()
    await bench.administration.pause_endpoint("org_1", endpoint_id, False)  # noqa: FBT003
    assert len(await bench.claim()) == 2


async def test_a_throttling_receiver_gates_all_that_waits_for_it(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    await bench.endpoint("b", ["message.replied"])
    await bench.pending(3)
    claim = (await bench.claim(1))[0]
    await bench.settle(settled_by(claim, 429, retry_after="120"))
    await bench.pending(1, type="message.replied")

    assert [each.delivery.event_type for each in await bench.claim()] == ["message.replied"]
    backlog = await bench.store.backlog()
    assert (backlog.due_count, backlog.gated_count, dict(backlog.gates)) == (0, 2, {"retry_after": 1})
    await bench.database.pass_time(200)
    assert [each.delivery.endpoint_id for each in await bench.claim()] == [endpoint_id] * 3


async def test_a_throttling_receiver_gates_though_its_delivery_is_given_up(bench: Bench) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    last = RetrySchedule(attempts_max=1)
    assert await bench.settle(settled_by(await bench.claim_one(), 429, retry_after="120", schedule=last)) == [True]
    assert (await bench.show(key)).state is State.DEAD
    await bench.pending()
    assert not await bench.claim()
    assert dict((await bench.store.backlog()).gates) == {"retry_after": 1}


async def test_two_workers_never_claim_the_same(bench: Bench) -> None:
    for name in "abcd":
        await bench.endpoint(name)
    await bench.pending(10)
    workers = [bench.database.store(f"worker-{n}") for n in range(4)]
    found = await asyncio.gather(*(bench.claim(20, by=each) for each in workers for _ in range(4)))
    keys = [claim.delivery.key for claims in found for claim in claims]
    assert len(keys) == len(set(keys))


# --------------------------------------------------------------------------- settle


async def test_a_2xx_delivers(bench: Bench) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    assert await bench.settle(settled_by(await bench.claim_one())) == [True]
    shown = await bench.show(key)
    assert (shown.state, shown.reason, shown.attempts_made) == (State.DELIVERED, None, 1)
    (attempt,) = await bench.attempts(key)
    assert (attempt.number, attempt.claim_number, attempt.outcome, attempt.status) == (1, 1, "accepted", 200)


async def test_a_failure_waits_for_its_time_and_counts(bench: Bench) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    assert await bench.settle(settled_by(await bench.claim_one(), 500)) == [True]

    shown = await bench.show(key)
    assert (shown.state, shown.reason, shown.attempts_made) == (State.PENDING, Reason.HTTP_STATUS, 1)
    assert not await bench.claim()
    await bench.database.pass_time(6)
    claim = await bench.claim_one()
    assert (claim.claim_number, claim.delivery.attempts_made, claim.delivery.attempts_recorded) == (2, 1, 1)


async def test_a_fault_of_ours_is_recorded_but_not_counted(bench: Bench) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    await bench.settle(settled_by(await bench.claim_one(), INTERNAL))
    assert (await bench.show(key)).attempts_made == 0
    await bench.database.pass_time(31)
    claim = await bench.claim_one()
    assert (claim.delivery.attempts_made, claim.delivery.attempts_recorded) == (0, 1)
    await bench.settle(settled_by(claim))
    assert [(each.number, each.is_counted) for each in await bench.attempts(key)] == [(1, False), (2, True)]


async def test_retries_are_brought_forward_the_oldest_first(bench: Bench) -> None:
    """Only retries that wait for their time, only of that endpoint, and no more than were asked for."""
    back, other = await bench.endpoint("back", ["message.sent"]), await bench.endpoint("other", ["message.replied"])
    oldest, newest = await bench.pending(2)
    await bench.pending(1, type="message.replied")
    claims = {claim.delivery.key: claim for claim in await bench.claim()}
    await bench.settle(settled_by(claims.pop(oldest), 500))
    await bench.database.pass_time(6)
    await bench.settle(settled_by(await bench.claim_one(), 500))
    await bench.settle(*(settled_by(claim, 500) for claim in claims.values()))
    (success,) = await bench.pending()
    claim = await bench.claim_one()
    assert claim.delivery.key == success
    effect = BringForward(back, 1)
    assert await bench.settle(structs.replace(settled_by(claim), effects=(effect,))) == [True]

    assert (await bench.claim_one()).delivery.key == oldest, "it had failed twice, so it would have waited longest"
    assert not await bench.claim()
    await bench.store.settle(
        [structs.replace(settled_by(claim), effects=(BringForward(back, 9), BringForward(back, 9)))]
    )
    assert (await bench.claim_one()).delivery.key == newest
    assert other not in {claim.delivery.endpoint_id for claim in await bench.claim()}


async def test_attempts_run_out(bench: Bench) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    for number in range(1, 13):
        claim = await bench.claim_one()
        assert (claim.claim_number, claim.delivery.attempts_made) == (number, number - 1)
        assert await bench.settle(settled_by(claim, 500)) == [True]
        await bench.database.pass_time(90_000)
    shown = await bench.show(key)
    assert (shown.state, shown.reason, shown.attempts_made) == (State.DEAD, Reason.ATTEMPTS_EXHAUSTED, 12)
    assert [each.number for each in await bench.attempts(key)] == list(range(1, 13))
    assert not await bench.claim()


async def test_a_410_ends_the_subscription_and_what_waits_for_it(bench: Bench) -> None:
    await bench.endpoint("a", ["message.sent", "message.replied"])
    keys = await bench.pending(3)
    (reply_key,) = await bench.pending(1, type="message.replied")
    await bench.endpoint("b")
    before = await bench.recording()
    claims = {claim.delivery.key: claim for claim in await bench.claim(1)}
    (key, claim), *_ = claims.items()
    if key == reply_key:
        claim = next(each for each in await bench.claim(3) if each.delivery.key in keys)
        key = claim.delivery.key

    assert await bench.settle(settled_by(claim, 410)) == [True]

    shown = await bench.show(key)
    assert (shown.state, shown.reason) == (State.CANCELLED, Reason.GONE)
    assert (await bench.store.record([before])).stale == {"org_1"}
    after = await bench.recording()
    assert len(after.deliveries) == 1, "only b is left"
    waiting = [each for each in keys if each != key]
    states = {(await bench.show(each)).state for each in waiting}
    assert State.PENDING not in states
    assert (await bench.show(reply_key)).state in OPEN_STATES, "the endpoint's other subscription lives on"


async def test_a_delivery_nobody_wants_ends_without_an_attempt(bench: Bench) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    claim = await bench.claim_one()
    assert await bench.settle(
        Settled(claim.delivery, claim.claim_number, Cancel(Reason.SUBSCRIPTION_DELETED), None)
    ) == [True]
    shown = await bench.show(key)
    assert (shown.state, shown.reason, shown.attempts_made) == (State.CANCELLED, Reason.SUBSCRIPTION_DELETED, 0)
    assert not await bench.attempts(key)


async def test_removing_an_endpoint_cancels_what_waits_but_not_what_is_under_way(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    keys = await bench.pending(3)
    claim = (await bench.claim(1))[0]
    assert await bench.administration.remove_endpoint("org_1", endpoint_id)
    assert not await bench.administration.remove_endpoint("org_1", endpoint_id)
    states = {key: (await bench.show(key)).state for key in keys}
    assert states.pop(claim.delivery.key) is State.LEASED
    assert set(states.values()) == {State.CANCELLED}
    assert await bench.settle(settled_by(claim)) == [True]


async def test_a_batch_is_settled_each_on_its_own_merits(bench: Bench) -> None:
    await bench.endpoint("a")
    keys = await bench.pending(4)
    claims = {claim.delivery.key: claim for claim in await bench.claim()}
    replies: tuple[int | Fault, ...] = (200, 500, 404, LOST)
    moved = await bench.settle(*(settled_by(claims[key], reply) for key, reply in zip(keys, replies, strict=True)))
    assert moved == [True] * 4
    states = [(await bench.show(key)).state for key in keys]
    assert states == [State.DELIVERED, State.PENDING, State.PENDING, State.PENDING]
    assert await bench.settle() == []


# --------------------------------------------------------------------------- who may settle


async def test_who_lost_the_lease_moves_nothing_but_the_attempt_is_kept(bench: Bench) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    late = await bench.claim_one()
    await bench.database.pass_time(61)
    (rescued,) = await bench.store.rescue(10)

    assert await bench.settle(settled_by(late, 500)) == [False]

    shown = await bench.show(key)
    assert (shown.state, shown.claims_made) == (State.LEASED, 2)
    assert await bench.settle(settled_by(rescued, LOST)) == [True]
    reasons = [(each.number, each.reason) for each in await bench.attempts(key)]
    assert sorted(reasons) == [(1, "http_status"), (2, "lost")]


@pytest.mark.parametrize("reply", [500, 410, LOST, INTERNAL], ids=["500", "410", "lost", "internal"])
async def test_a_late_failure_moves_nothing(bench: Bench, reply: int | Fault) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    late = await bench.claim_one()
    await bench.database.pass_time(61)
    (rescued,) = await bench.store.rescue(10)
    await bench.settle(settled_by(rescued))

    assert await bench.settle(settled_by(late, reply)) == [False]

    assert (await bench.show(key)).state is State.DELIVERED
    assert [each.number for each in await bench.attempts(key)] == [1, 2]


@pytest.mark.parametrize("since", ["expired", "rescued", "pending again", "claimed again"])
async def test_a_late_success_counts_on_any_open_state(bench: Bench, since: str) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    late = await bench.claim_one()
    await bench.database.pass_time(61)
    current = None
    if since != "expired":
        (current,) = await bench.store.rescue(10)
    if since in {"pending again", "claimed again"}:
        assert current is not None
        await bench.settle(settled_by(current, LOST))
        current = None
    if since == "claimed again":
        await bench.database.pass_time(61)
        current = await bench.claim_one()

    assert await bench.settle(settled_by(late)) == [True]

    assert (await bench.show(key)).state is State.DELIVERED
    if current is not None:
        assert await bench.settle(settled_by(current, 500)) == [False]
        assert (await bench.show(key)).state is State.DELIVERED
    numbers = [each.number for each in await bench.attempts(key)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert sum(each.outcome == "accepted" for each in await bench.attempts(key)) == 1


@pytest.mark.parametrize("order", ["success first", "loss first"])
async def test_a_late_success_wins_over_the_loss_settled_in_the_same_batch(bench: Bench, order: str) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    late = await bench.claim_one()
    await bench.database.pass_time(61)
    (rescued,) = await bench.store.rescue(10)
    batch = [settled_by(late), settled_by(rescued, LOST)]

    await bench.settle(*(batch if order == "success first" else reversed(batch)))

    assert (await bench.show(key)).state is State.DELIVERED
    assert sorted(each.outcome for each in await bench.attempts(key)) == ["accepted", "failed"]


@pytest.mark.parametrize("final", [State.DELIVERED, State.DEAD, State.CANCELLED])
@pytest.mark.parametrize("late_reply", [200, 500, 410, LOST], ids=["200", "500", "410", "lost"])
async def test_a_final_state_is_final(bench: Bench, final: State, late_reply: int | Fault) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    claim = await bench.claim_one()
    settled = {
        State.DELIVERED: settled_by(claim),
        State.DEAD: settled_by(structs.replace(claim, delivery=structs.replace(claim.delivery, attempts_made=11)), 500),
        State.CANCELLED: settled_by(claim, 410),
    }[final]
    assert await bench.settle(settled) == [True]
    before = await bench.show(key)
    assert before.state is final
    late = structs.replace(claim, claim_number=claim.claim_number + 1)

    assert await bench.settle(settled_by(late, late_reply)) == [False]

    assert await bench.show(key) == before
    assert len(await bench.attempts(key)) == 2, "what moved nothing is kept as well"
    await bench.database.pass_time(LONG_SECONDS)
    assert not await bench.claim()
    assert not await bench.store.rescue(10)


async def test_the_same_settlement_twice_moves_once(bench: Bench) -> None:
    """A COMMIT whose answer was lost is settled again, from memory."""
    await bench.endpoint("a")
    (key,) = await bench.pending()
    settled = settled_by(await bench.claim_one(), 500)
    assert await bench.settle(settled) == [True]
    assert await bench.settle(settled) == [False]
    shown = await bench.show(key)
    assert (shown.state, shown.attempts_made) == (State.PENDING, 1)


async def test_attempts_that_two_workers_record_at_once_are_all_kept(bench: Bench) -> None:
    await bench.endpoint("a")
    keys = await bench.pending(20)
    late = await bench.claim()
    await bench.database.pass_time(61)
    other = bench.database.store("worker-2")
    rescued = await other.rescue(20)

    async def persist(by: DeliveryStore, claims: Sequence[Claimed], reply: int | Fault) -> None:
        while True:
            with suppress(UnavailableError):  # then it would have been tried again a moment later
                await by.settle([settled_by(claim, reply) for claim in claims])
                return

    await asyncio.gather(persist(bench.store, late, 500), persist(other, rescued, LOST))

    for key in keys:
        assert [each.number for each in await bench.attempts(key)] == [1, 2]
        assert (await bench.show(key)).attempts_made == 0


async def test_a_claim_number_only_grows(bench: Bench) -> None:
    await bench.endpoint("a")
    recording = await bench.recording(wants_lease=True)
    await bench.record(recording)
    key = recording.deliveries[0].delivery.key
    numbers = [(await bench.show(key)).claims_made]
    await bench.settle(released(lease_of(recording)))
    numbers.append((await bench.claim_one()).claim_number)
    for _ in range(2):
        await bench.database.pass_time(61)
        (rescued,) = await bench.store.rescue(10)
        numbers.append(rescued.claim_number)
        await bench.settle(settled_by(rescued, LOST))
        await bench.database.pass_time(61)
        numbers.append((await bench.claim_one()).claim_number)
        assert not await bench.store.rescue(10)
    assert numbers == [1, 2, 3, 4, 5, 6]


# --------------------------------------------------------------------------- release and rescue


async def test_a_lease_given_back_is_due_at_once_and_no_attempt(bench: Bench) -> None:
    await bench.endpoint("a")
    recording = await bench.recording(wants_lease=True)
    await bench.record(recording)
    await bench.settle(released(lease_of(recording)))
    claim = await bench.claim_one()
    assert (claim.claim_number, claim.delivery.attempts_made) == (2, 0)
    assert not await bench.attempts(claim.delivery.key)


async def test_a_lease_that_was_lost_cannot_be_given_back(bench: Bench) -> None:
    await bench.endpoint("a")
    recording = await bench.recording(wants_lease=True)
    await bench.record(recording)
    key = recording.deliveries[0].delivery.key
    await bench.database.pass_time(61)
    await bench.store.rescue(10)
    await bench.settle(released(lease_of(recording)))
    assert (await bench.show(key)).state is State.LEASED


async def test_a_lease_given_back_after_its_end_changes_nothing(bench: Bench) -> None:
    await bench.endpoint("a")
    recording = await bench.recording(wants_lease=True)
    await bench.record(recording)
    await bench.settle(settled_by(claimed(lease_of(recording))))
    await bench.settle(released(lease_of(recording)))
    assert (await bench.show(recording.deliveries[0].delivery.key)).state is State.DELIVERED


async def test_only_expired_leases_are_rescued_and_by_one_worker(bench: Bench) -> None:
    await bench.endpoint("a")
    keys = await bench.pending(6)
    await bench.claim(3)
    await bench.database.pass_time(40)
    await bench.claim()
    assert not await bench.store.rescue(10)
    await bench.database.pass_time(30)

    other = bench.database.store("worker-2")
    found = await asyncio.gather(bench.store.rescue(2), other.rescue(2), other.rescue(2))

    rescued = [claim.delivery.key for claims in found for claim in claims]
    assert len(rescued) == len(set(rescued)) == 3
    assert set(rescued) <= set(keys)
    assert {claim.claim_number for claims in found for claim in claims} == {2}
    assert not await bench.store.rescue(10), "a rescued lease runs anew"


async def test_a_rescuer_that_dies_is_rescued_in_turn(bench: Bench) -> None:
    await bench.endpoint("a")
    await bench.pending()
    await bench.claim_one()
    for claim_number in (2, 3):
        await bench.database.pass_time(61)
        (rescued,) = await bench.store.rescue(10)
        assert rescued.claim_number == claim_number


async def lost(bench: Bench, *, begun: bool = False) -> Claimed:
    """Claim, begin or not, and let the lease run out; what the rescue finds."""
    claim = await bench.claim_one()
    if begun:
        assert await bench.store.begin([lease_for(claim)]) == [True]
    await bench.database.pass_time(61)
    (rescued,) = await bench.store.rescue(10)
    assert rescued.has_begun is begun
    return rescued


async def test_the_first_loss_makes_a_suspect_and_counts_for_nothing(bench: Bench) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    assert await bench.settle(settled_by(await lost(bench), LOST)) == [True]
    shown = await bench.show(key)
    assert (shown.state, shown.reason, shown.attempts_made) == (State.PENDING, Reason.LOST, 0)
    assert [(each.number, each.reason, each.is_counted) for each in await bench.attempts(key)] == [(1, "lost", False)]
    await bench.database.pass_time(61)
    delivery = (await bench.claim_one()).delivery
    assert (delivery.lost_in_a_row, delivery.attempts_made, delivery.attempts_recorded) == (1, 0, 1)


async def test_a_suspect_that_is_lost_before_its_post_has_lost_nothing(bench: Bench) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    for _ in range(5):
        await bench.settle(settled_by(await lost(bench), LOST))
        await bench.database.pass_time(61)
    claim = await bench.claim_one()
    assert (claim.delivery.lost_in_a_row, claim.delivery.attempts_recorded) == (1, 1)
    assert len(await bench.attempts(key)) == 1
    assert (await bench.show(key)).reason is Reason.LOST


async def test_a_suspect_that_is_lost_after_its_post_began_is_counted_and_the_third_ends_it(bench: Bench) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    await bench.settle(settled_by(await lost(bench), LOST))
    for counted in (1, 2, 3):
        await bench.database.pass_time(90_000)
        await bench.settle(settled_by(await lost(bench, begun=True), LOST))
        assert (await bench.show(key)).attempts_made == counted
    shown = await bench.show(key)
    assert (shown.state, shown.reason) == (State.DEAD, Reason.CRASHES_WORKER)
    assert [each.is_counted for each in await bench.attempts(key)] == [False, True, True, True]


@pytest.mark.parametrize("reply", [500, INTERNAL], ids=["500", "internal"])
async def test_any_reply_ends_the_suspicion(bench: Bench, reply: int | Fault) -> None:
    await bench.endpoint("a")
    await bench.pending()
    await bench.settle(settled_by(await lost(bench), LOST))
    await bench.database.pass_time(61)
    await bench.settle(settled_by(await bench.claim_one(), reply))
    await bench.database.pass_time(90_000)
    assert not (await bench.claim_one()).delivery.is_suspect


async def test_a_release_changes_nothing_that_is_known(bench: Bench) -> None:
    await bench.endpoint("a")
    (key,) = await bench.pending()
    await bench.settle(settled_by(await bench.claim_one(), 500))
    await bench.database.pass_time(61)
    await bench.settle(settled_by(await lost(bench), LOST))
    await bench.database.pass_time(61)
    before = await bench.claim_one()
    assert await bench.settle(released(before)) == [True]
    shown, after = await bench.show(key), await bench.claim_one()
    assert (shown.state, shown.reason) == (State.PENDING, Reason.LOST)
    assert is_same(after.delivery, before.delivery)
    assert (after.delivery.lost_in_a_row, after.delivery.attempts_made, after.delivery.attempts_recorded) == (1, 1, 2)
    assert await bench.settle(released(before)) == [False], "it is another's by now"


async def test_a_release_may_name_a_time(bench: Bench) -> None:
    await bench.endpoint("a")
    await bench.pending()
    claim = await bench.claim_one()
    await bench.settle(structs.replace(released(claim), settlement=Release(20.0)))
    assert not await bench.claim()
    await bench.database.pass_time(21)
    assert (await bench.claim_one()).claim_number == 2


async def test_only_the_holder_begins(bench: Bench) -> None:
    await bench.endpoint("a")
    await bench.pending(3)
    held, gone, ended = await bench.claim()
    await bench.settle(settled_by(ended), released(gone))
    (again,) = await bench.claim()
    leases = [lease_for(each) for each in (held, gone, ended)]
    assert await bench.store.begin(leases) == [True, False, False]
    assert await bench.store.begin(leases) == [True, False, False], "a COMMIT whose answer was lost is begun again"
    assert not await bench.store.begin([])
    await bench.database.pass_time(61)
    rescued = {claim.delivery.key: claim.has_begun for claim in await bench.store.rescue(10)}
    assert rescued == {held.delivery.key: True, again.delivery.key: False}


async def test_a_post_that_began_is_not_forgotten_with_its_rescuer(bench: Bench) -> None:
    await bench.endpoint("a")
    await bench.pending()
    await lost(bench, begun=True)
    await bench.database.pass_time(61)
    (rescued,) = await bench.store.rescue(10)
    assert (rescued.claim_number, rescued.has_begun) == (3, True)
    await bench.settle(settled_by(rescued, LOST))
    await bench.database.pass_time(61)
    assert not (await lost(bench)).has_begun, "that was an earlier claim"


async def test_what_comes_too_late_to_move_anything_is_not_counted(bench: Bench) -> None:
    """The number of the attempt that a receiver is told counts on this."""
    await bench.endpoint("a")
    (key,) = await bench.pending()
    late = await bench.claim_one()
    await bench.database.pass_time(61)
    (rescued,) = await bench.store.rescue(10)
    await bench.settle(settled_by(rescued, LOST))
    assert await bench.settle(settled_by(late, 500)) == [False]
    await bench.database.pass_time(61)
    assert await bench.settle(settled_by(await bench.claim_one(), 500)) == [True]
    attempts = [(each.reason, each.is_counted) for each in await bench.attempts(key)]
    assert attempts == [("lost", False), ("http_status", False), ("http_status", True)]
    assert (await bench.show(key)).attempts_made == 1


# --------------------------------------------------------------------------- backlog


async def test_the_backlog_counts_what_is_due(bench: Bench) -> None:
    await bench.endpoint("a")
    empty = await bench.store.backlog()
    assert (empty.due_count, empty.gated_count, empty.oldest_due_age_seconds) == (0, 0, 0.0)
    await bench.pending(3)
    await bench.claim(1)
    await bench.database.pass_time(50)
    backlog = await bench.store.backlog()
    assert backlog.due_count == 2
    assert 50 <= backlog.oldest_due_age_seconds < 80


async def test_what_waits_behind_a_gate_is_told_apart(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    await bench.pending(2)
    await bench.administration.pause_endpoint("org_1", endpoint_id, True)  # noqa: FBT003
    await bench.database.pass_time(50)
    backlog = await bench.store.backlog()
    assert (backlog.due_count, backlog.oldest_due_age_seconds) == (0, 0.0)
    assert backlog.gated_count == 2
    assert 50 <= backlog.oldest_gated_age_seconds < 80
    assert dict(backlog.gates) == {"paused": 1}
