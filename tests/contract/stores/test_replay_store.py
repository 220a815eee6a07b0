"""The ReplayStore and ReplayJobDesk ports: one suite for the fake and for PostgreSQL."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec import structs

from service.adapters.postgres.engine import driver
from service.core.deliveries.delivery import DeliveryKey, State
from service.core.endpoints.gates.breaker import BreakerLimits
from service.core.events.uid import first_uid_from, received_at
from service.core.replays.job import (
    LIVE_MAX,
    OrderRefused,
    ReplayJob,
    ReplayOrder,
    ReplayState,
    ReplayWish,
    SkipReason,
    TooManyReplays,
)
from service.core.replays.step import OPEN_MAX, PARTS_MAX, WINDOW_MIN
from service.core.walk import Walk
from service.ports.store import ReplayStep
from tests.contract.stores.rig import Bench, InPostgres
from tests.fakes.actor import SOMEBODY
from tests.fakes.settlements import LOST, settled_by

pytestmark = pytest.mark.clock

FAST = 1000
STEPS_MAX = 200


async def ended(bench: Bench, count: int = 1, reply: int = 200, **changes: Any) -> list[DeliveryKey]:
    """Events whose deliveries have ended: accepted, or buried as too large for the receiver."""
    keys = await bench.pending(count, **changes)
    while claims := await bench.claim():
        await bench.settle(*(settled_by(claim, reply) for claim in claims))
        await bench.database.pass_time(100_000)
    return keys


async def dead(bench: Bench, count: int = 1, **changes: Any) -> list[DeliveryKey]:
    return await ended(bench, count, 413, **changes)


async def make(bench: Bench, organization_id: str = "org_1", **wish: Any) -> ReplayJob:
    wanted = ReplayWish(**{"rate": FAST, **wish})
    made = await bench.database.replay_jobs.create(organization_id, wanted, by=SOMEBODY)
    assert isinstance(made, ReplayJob), made
    return made


async def show(bench: Bench, job: ReplayJob) -> ReplayJob:
    found = await bench.database.replay_jobs.find(job.organization_id, job.id)
    assert found is not None
    return found


async def step(bench: Bench, after: str = "") -> ReplayStep:
    stepped = await bench.database.replays.step("org_1", after)
    assert stepped is not None
    return stepped


async def sent(bench: Bench, reply: int = 200) -> list[DeliveryKey]:
    """Send what is due; the keys, in the order in which they were claimed."""
    claims = await bench.claim(1000, per_endpoint_limit=1000)
    await bench.settle(*(settled_by(claim, reply) for claim in claims))
    return [claim.delivery.key for claim in claims]


async def run(bench: Bench, job: ReplayJob, reply: int = 200) -> list[DeliveryKey]:
    """Take steps and send, until the job has ended; what was sent, in order."""
    found: list[DeliveryKey] = []
    for _ in range(STEPS_MAX):
        await bench.database.replays.step(job.organization_id, "")
        await bench.database.pass_time(1)
        found += await sent(bench, reply)
        if (await show(bench, job)).ended_at is not None:
            return found
    raise AssertionError(await show(bench, job))


def again(keys: Sequence[DeliveryKey], number: int = 1) -> list[DeliveryKey]:
    return [DeliveryKey(key.event_uid, key.subscription_id, number) for key in keys]


async def test_what_failed_at_an_endpoint_is_made_again_in_order(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    await bench.endpoint("other", ["link.clicked"])
    failed = await dead(bench, 12)
    await ended(bench, 3)
    await dead(bench, 2, type="link.clicked")
    job = await make(bench, endpoint_id=endpoint_id)
    assert (job.state, job.created_by, job.total_count, job.is_counted) == (ReplayState.PENDING, "key_1", 0, False)
    assert await run(bench, job) == again(failed)
    done = await show(bench, job)
    assert (done.state, done.reason, done.is_counted) == (ReplayState.DONE, None, True)
    assert (done.total_count, done.created_count, done.skipped_count, done.open_count) == (12, 12, 0, 0)
    assert done.started_at is not None
    assert await bench.database.replays.next_organization("", []) is None
    assert {(await bench.show(key)).state for key in failed} == {State.DEAD}, "final rows never change"


async def test_a_replay_has_the_bytes_and_counts_its_own_attempts(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    recording = await bench.recording()
    await bench.record(recording)
    first = await bench.claim_one()
    await bench.settle(settled_by(first, 413))
    for _ in range(3):
        await bench.database.pass_time(100_000)
        for claim in await bench.claim():
            await bench.settle(settled_by(claim, 413))
    job = await make(bench, endpoint_id=endpoint_id)
    for _ in range(2):
        await step(bench)
        await bench.database.pass_time(1)
    claim = await bench.claim_one()
    assert claim.delivery.key == DeliveryKey(recording.uid, first.delivery.key.subscription_id, 1)
    assert (claim.delivery.body, claim.delivery.event_id) == (recording.event.body, recording.event.id)
    assert (claim.claim_number, claim.delivery.attempts_made, claim.delivery.endpoint_id) == (1, 0, endpoint_id)
    assert (await show(bench, job)).open_count == 1


@pytest.mark.parametrize("states", [(State.DELIVERED,), (State.DEAD, State.CANCELLED), (State.DELIVERED, State.DEAD)])
async def test_the_states_that_are_asked_for(bench: Bench, states: tuple[State, ...]) -> None:
    endpoint_id = await bench.endpoint("a")
    by_state = {State.DELIVERED: await ended(bench, 3), State.DEAD: await dead(bench, 2)}
    expected = sorted((key for state in states for key in by_state.get(state, [])), key=lambda key: key.event_uid)
    job = await make(bench, endpoint_id=endpoint_id, states=states)
    assert await run(bench, job) == again(expected)


async def test_since_and_until_are_when_the_event_was_received(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    keys = await dead(bench, 40)
    at = sorted({received_at(key.event_uid) for key in keys})
    since, until = at[len(at) // 3], at[-1]
    job = await make(bench, endpoint_id=endpoint_id, since=since, until=until)
    expected = [key for key in keys if since <= received_at(key.event_uid) < until]
    assert sorted(await run(bench, job), key=lambda key: key.event_uid) == again(expected)


async def test_a_type_is_replayed_at_each_endpoint_of_the_organization_alone(bench: Bench) -> None:
    await bench.administration.create_organization("org_2")
    await bench.administration.add_endpoint("org_2", "https://theirs.example/", ("message.sent",))
    endpoints = [await bench.endpoint(name, ["message.*"]) for name in "abc"]
    keys = await dead(bench, 4)
    await dead(bench, 2, type="message.failed")
    await dead(bench, 2, organization_id="org_2", id="evt_theirs")
    job = await make(bench, event_type="message.sent")
    made = await run(bench, job)
    assert sorted(made, key=str) == sorted(again(keys), key=str)
    for number in range(3):
        mine = [key for key in keys if key.subscription_id == keys[number].subscription_id]
        assert [key for key in made if key.subscription_id == keys[number].subscription_id] == again(mine)
    assert (await show(bench, job)).total_count == 4 * len(endpoints)


async def test_deliveries_named_one_by_one(bench: Bench) -> None:
    await bench.endpoint("a")
    keys = [*await ended(bench, 3), *await dead(bench, 3)]
    named = (keys[4], keys[1], keys[1], DeliveryKey(keys[0].event_uid, 999))
    job = await make(bench, keys=named, states=(State.DELIVERED, State.DEAD, State.CANCELLED))
    assert job.ids_count == 3
    assert await run(bench, job) == again([keys[1], keys[4]])
    assert (await show(bench, job)).total_count == 2


async def test_nothing_of_another_organization_is_replayed(bench: Bench) -> None:
    await bench.administration.create_organization("org_2")
    endpoint_id = await bench.endpoint("a")
    keys = await dead(bench, 2)
    for wish in ({"endpoint_id": endpoint_id}, {"keys": tuple(keys)}, {"event_type": "message.sent"}):
        job = await make(bench, "org_2", **wish)
        assert (job.state, job.is_counted, job.total_count) == (ReplayState.DONE, True, 0)
        found = await bench.database.replay_jobs.count("org_2", ReplayWish(**wish))
        assert found.total_count == 0
        assert await bench.database.replay_jobs.find("org_1", job.id) is None
        assert await bench.database.replay_jobs.order("org_1", job.id, ReplayOrder.CANCEL, by=SOMEBODY) is None
    assert await bench.database.replays.next_organization("", []) is None
    assert await bench.database.replay_jobs.list("org_1", Walk(10)) == []


async def test_a_job_makes_a_few_for_a_breaker_to_try(bench: Bench) -> None:
    """Otherwise an endpoint that is well again would never be tried: its backlog has died."""
    store = bench.database.store(breaker=BreakerLimits(failures=1, open_seconds=60))
    endpoint_id = await bench.endpoint("a")
    await dead(bench, 20)
    await bench.pending()
    await bench.settle(settled_by(await bench.claim_one(), 503), by=store)
    job = await make(bench, endpoint_id=endpoint_id)
    for _ in range(3):
        await step(bench)
        await bench.database.pass_time(1)
    assert (await show(bench, job)).created_count == 0, "the breaker is open"
    await bench.database.pass_time(60)
    await step(bench)
    assert (await show(bench, job)).created_count == WINDOW_MIN
    assert len(await bench.claim(by=store)) == 1


async def test_the_newest_delivery_of_an_event_decides(bench: Bench) -> None:
    """What was replayed since is not replayed once more, whether it arrived or is still on its way."""
    endpoint_id = await bench.endpoint("a")
    failed = await dead(bench, 4)
    first = await make(bench, keys=(failed[0], failed[1]))
    assert await run(bench, first) == again(failed[:2])
    second = await make(bench, keys=(failed[2],))
    for _ in range(2):
        await step(bench)
        await bench.database.pass_time(1)
    assert (await show(bench, second)).open_count == 1
    job = await make(bench, endpoint_id=endpoint_id)
    claims = []
    for _ in range(4):
        await bench.database.replays.step("org_1", "")
        await bench.database.pass_time(1)
        claims += [claim.delivery.key for claim in await bench.claim()]
    assert claims == again(failed[2:])
    done = await show(bench, job)
    assert (done.state, done.total_count, done.created_count) == (ReplayState.DONE, 4, 1)
    assert done.skipped == {
        SkipReason.SUPERSEDED: 3,
        SkipReason.SUBSCRIPTION_REMOVED: 0,
        SkipReason.EVENT_DROPPED: 0,
    }


async def test_a_replay_that_failed_again_can_be_replayed_again(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    failed = await dead(bench, 3)
    await run(bench, await make(bench, endpoint_id=endpoint_id), reply=413)
    await bench.database.pass_time(100_000)
    while await sent(bench, 413):
        await bench.database.pass_time(100_000)
    job = await make(bench, endpoint_id=endpoint_id)
    assert await run(bench, job) == again(failed, 2)
    assert (await show(bench, job)).skipped[SkipReason.SUPERSEDED] == 3


async def test_a_job_does_not_replay_what_it_has_made_itself(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    keys = await ended(bench, 30)
    job = await make(bench, endpoint_id=endpoint_id, states=(State.DELIVERED,))
    assert await run(bench, job) == again(keys)
    assert (await show(bench, job)).created_count == 30


async def test_what_ends_after_the_job_was_made_is_not_its_matter(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    late = await bench.pending(2)
    claims = await bench.claim()
    before = await dead(bench, 2)
    job = await make(bench, endpoint_id=endpoint_id, states=(State.DEAD, State.DELIVERED))
    await bench.database.pass_time(0.001)
    await bench.settle(*(settled_by(claim) for claim in claims))
    assert await run(bench, job) == again(before)
    assert {(await bench.show(key)).state for key in late} == {State.DELIVERED}


async def test_a_subscription_that_was_removed_is_skipped_and_counted(bench: Bench) -> None:
    kept, removed = await bench.endpoint("a"), await bench.endpoint("b")
    keys = await dead(bench, 3)
    job = await make(bench, event_type="message.sent")
    assert await bench.administration.remove_endpoint("org_1", removed)
    made = await run(bench, job)
    assert len(made) == 3
    assert {(await bench.show(key)).state for key in made} == {State.DELIVERED}
    assert set(made) <= set(again(keys))
    done = await show(bench, job)
    assert (done.total_count, done.created_count, done.skipped[SkipReason.SUBSCRIPTION_REMOVED]) == (6, 3, 3)
    gone = await make(bench, endpoint_id=removed)
    assert await run(bench, gone) == []
    assert (await show(bench, gone)).skipped[SkipReason.SUBSCRIPTION_REMOVED] == 3
    assert kept != removed


async def test_counting_beforehand_stores_nothing(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    removed = await bench.endpoint("b")
    failed = await dead(bench, 5)
    await run(bench, await make(bench, keys=(failed[0],)))
    assert await bench.administration.remove_endpoint("org_1", removed)
    counted = await bench.database.replay_jobs.count("org_1", ReplayWish(event_type="message.sent"))
    assert (counted.total_count, counted.replayable_count, counted.is_complete) == (10, 4, True)
    assert +counted.skipped == {SkipReason.SUPERSEDED: 1, SkipReason.SUBSCRIPTION_REMOVED: 5}  # type: ignore[operator]
    counted = await bench.database.replay_jobs.count("org_1", ReplayWish(endpoint_id=endpoint_id, keys=()))
    assert (counted.total_count, counted.replayable_count) == (5, 4)
    assert len(await bench.database.replay_jobs.list("org_1", Walk(10))) == 1
    assert not await bench.claim()


async def test_a_job_keeps_to_its_rate(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    await dead(bench, 100)
    job = await make(bench, endpoint_id=endpoint_id, rate=4)
    await step(bench)  # it counts
    made, began_at = 0, time.monotonic()
    for _ in range(24):
        await bench.database.pass_time(0.25)
        made += (await step(bench)).made_count
        await sent(bench)
    passed_seconds = 6 + time.monotonic() - began_at  # PostgreSQL's clock goes on by itself as well
    assert 20 <= made <= 4 * passed_seconds + 4
    assert (await show(bench, job)).state is ReplayState.RUNNING


async def test_few_wait_at_an_endpoint_that_does_not_keep_up(bench: Bench) -> None:
    """However fast the job may be, and however much it has to do."""
    endpoint_id = await bench.endpoint("a")
    await dead(bench, 100)
    job = await make(bench, endpoint_id=endpoint_id)
    for _ in range(20):
        await bench.database.pass_time(1)
        await step(bench)
    assert (await show(bench, job)).created_count == 2 * WINDOW_MIN
    claims = await bench.claim(WINDOW_MIN)
    await bench.settle(*(settled_by(claim) for claim in claims))
    await bench.database.pass_time(1)
    await step(bench)
    assert (await show(bench, job)).created_count == 3 * WINDOW_MIN


async def test_an_endpoint_that_keeps_up_gets_more_and_more_at_a_time(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    await dead(bench, 60)
    await make(bench, endpoint_id=endpoint_id)
    made = []
    for _ in range(5):
        made.append((await step(bench)).made_count)
        await bench.database.pass_time(1)
        await sent(bench)
    assert made == [0, WINDOW_MIN, 2 * WINDOW_MIN, 4 * WINDOW_MIN, 8 * WINDOW_MIN]


async def test_no_endpoint_waits_for_another(bench: Bench) -> None:
    """One is paused and another does not keep up: the third gets all of its own."""
    paused, slow, well = [await bench.endpoint(name) for name in "abc"]
    keys = await dead(bench, 20)
    await bench.administration.pause_endpoint("org_1", paused, True)  # noqa: FBT003
    job = await make(bench, event_type="message.sent")
    made: list[DeliveryKey] = []
    for _ in range(40):
        await step(bench)
        await bench.database.pass_time(1)
        claims = await bench.claim(1000, per_endpoint_limit=1000)
        mine = [claim for claim in claims if claim.delivery.endpoint_id == well]
        await bench.settle(*(settled_by(claim) for claim in mine))
        made += [claim.delivery.key for claim in mine]
    assert len(made) == 20
    assert set(made) <= set(again(keys))
    shown = await show(bench, job)
    assert (shown.state, shown.created_count) == (ReplayState.RUNNING, 20 + 2 * WINDOW_MIN)
    await bench.administration.pause_endpoint("org_1", paused, False)  # noqa: FBT003
    assert len({key.subscription_id for key in await run_all(bench, job)}) >= 1
    assert slow != well


async def run_all(bench: Bench, job: ReplayJob) -> list[DeliveryKey]:
    """What remains of a job some of whose deliveries are leased already."""
    found: list[DeliveryKey] = []
    for _ in range(STEPS_MAX):
        await bench.database.replays.step(job.organization_id, "")
        await bench.database.pass_time(100)
        for claim in await bench.store.rescue(100):
            await bench.settle(settled_by(claim, LOST))
        found += await sent(bench)
        if (await show(bench, job)).ended_at is not None:
            return found
    raise AssertionError(await show(bench, job))


async def test_pause_resume_and_cancel(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    keys = await dead(bench, 20)
    desk = bench.database.replay_jobs
    job = await make(bench, endpoint_id=endpoint_id)
    assert isinstance(await desk.order("org_1", job.id, ReplayOrder.RESUME, by=SOMEBODY), ReplayJob), "it does already"
    for _ in range(2):
        await step(bench)
        await bench.database.pass_time(1)
    paused = await desk.order("org_1", job.id, ReplayOrder.PAUSE, by=SOMEBODY)
    assert isinstance(paused, ReplayJob)
    assert (paused.state, paused.created_count, paused.ended_at) == (ReplayState.PAUSED, WINDOW_MIN, None)
    assert await desk.order("org_1", job.id, ReplayOrder.PAUSE, by=SOMEBODY) == paused
    assert await bench.database.replays.next_organization("", []) is None
    assert await bench.database.replays.step("org_1", "") is None
    made = await sent(bench)
    resumed = await desk.order("org_1", job.id, ReplayOrder.RESUME, by=SOMEBODY)
    assert isinstance(resumed, ReplayJob)
    assert resumed.state is ReplayState.PENDING
    await step(bench)
    await bench.database.pass_time(1)
    await step(bench)
    cancelled = await desk.order("org_1", job.id, ReplayOrder.CANCEL, by=SOMEBODY)
    assert isinstance(cancelled, ReplayJob)
    assert (cancelled.state, cancelled.created_count) == (ReplayState.CANCELLED, 3 * WINDOW_MIN)
    assert cancelled.ended_at is not None
    assert await desk.order("org_1", job.id, ReplayOrder.CANCEL, by=SOMEBODY) == cancelled
    refused = await desk.order("org_1", job.id, ReplayOrder.RESUME, by=SOMEBODY)
    assert refused == OrderRefused(ReplayState.CANCELLED, ReplayOrder.RESUME)
    made += await sent(bench)
    assert made == again(keys[: 3 * WINDOW_MIN]), "what was made is delivered"
    assert await desk.order("org_1", "rpl_unknown", ReplayOrder.PAUSE, by=SOMEBODY) is None


async def test_an_organization_has_few_unfinished_jobs(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    await dead(bench)
    jobs = [await make(bench, endpoint_id=endpoint_id) for _ in range(LIVE_MAX)]
    desk = bench.database.replay_jobs
    await desk.order("org_1", jobs[0].id, ReplayOrder.PAUSE, by=SOMEBODY)
    assert await desk.create("org_1", ReplayWish(endpoint_id=endpoint_id), by=SOMEBODY) == TooManyReplays()
    await desk.order("org_1", jobs[0].id, ReplayOrder.CANCEL, by=SOMEBODY)
    await make(bench, endpoint_id=endpoint_id)


async def test_jobs_take_turns(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    await dead(bench)
    jobs = sorted([(await make(bench, endpoint_id=endpoint_id)).id for _ in range(3)])
    assert (await step(bench)).job_id == jobs[0]
    assert (await step(bench, jobs[0])).job_id == jobs[1]
    assert (await step(bench, jobs[2])).job_id == jobs[0]


async def test_organizations_take_turns_and_those_that_rest_are_passed_over(bench: Bench) -> None:
    for name in ("org_1", "org_2", "org_3"):
        await bench.administration.create_organization(name)
        made = await bench.administration.add_endpoint(name, f"https://{name}.example/", ("message.sent",))
        await make(bench, name, endpoint_id=made.id)
    replays = bench.database.replays
    assert await replays.next_organization("", []) == "org_1"
    assert await replays.next_organization("org_1", []) == "org_2"
    assert await replays.next_organization("org_1", ["org_2"]) == "org_3"
    assert await replays.next_organization("org_3", []) is None


async def test_the_list_is_newest_first(bench: Bench) -> None:
    endpoint_id = await bench.endpoint("a")
    jobs = [await make(bench, endpoint_id=endpoint_id) for _ in range(3)]
    desk = bench.database.replay_jobs
    every = await desk.list("org_1", Walk(10))
    assert {job.id for job in every} == {job.id for job in jobs}
    assert list(every) == sorted(every, key=lambda job: (job.created_at, job.id), reverse=True)
    page = await desk.list("org_1", Walk(2))
    rest = await desk.list("org_1", Walk(2, (page[1].created_at, page[1].id)))
    assert [*page, *rest] == list(every)
    await desk.order("org_1", jobs[1].id, ReplayOrder.PAUSE, by=SOMEBODY)
    assert [job.id for job in await desk.list("org_1", Walk(10), states=[ReplayState.PAUSED])] == [jobs[1].id]


@pytest.mark.usefixtures("same_day")
async def test_a_day_that_is_about_to_be_dropped_gets_no_new_deliveries(bench: Bench) -> None:
    """Else it would have to wait for them."""
    endpoint_id = await bench.endpoint("a")
    today = await bench.database.today()
    keys = []
    for days_ago in (31, 30, 29):
        day = today - timedelta(days=days_ago)
        await bench.database.make_day(day)
        new = await bench.recording()
        key = DeliveryKey(UUID(int=first_uid_from(day).int + 1), new.deliveries[0].delivery.key.subscription_id)
        deliveries = tuple(
            structs.replace(each, delivery=structs.replace(each.delivery, key=key)) for each in new.deliveries
        )
        await bench.record(structs.replace(new, uid=key.event_uid, deliveries=deliveries))
        keys.append(key)
    assert len(await sent(bench)) == len(keys)
    job = await make(bench, endpoint_id=endpoint_id, states=(State.DELIVERED,))
    assert await run(bench, job) == again(keys[1:])


# --------------------------------------------------------------------------- PostgreSQL only


@pytest.fixture
async def real(in_postgres: InPostgres) -> Bench:
    await in_postgres.administration.create_organization("org_1")
    return Bench(in_postgres)


async def test_what_retention_took_meanwhile_is_told_at_the_end(real: Bench, in_postgres: InPostgres) -> None:
    endpoint_id = await real.endpoint("a")
    keys = await dead(real, 12)
    job = await make(real, endpoint_id=endpoint_id)
    for _ in range(2):
        await step(real)
        await real.database.pass_time(1)
    async with driver(in_postgres._engine) as connection:
        await connection.execute("DELETE FROM events WHERE uid = $1", keys[6].event_uid)
        await connection.execute("DELETE FROM final_deliveries WHERE event_uid >= $1", keys[8].event_uid)
    assert await run(real, job) == again([*keys[:6], keys[7]])
    done = await show(real, job)
    assert (done.state, done.total_count, done.created_count) == (ReplayState.DONE, 12, 7)
    assert done.skipped[SkipReason.EVENT_DROPPED] == 5
    assert done.reason is not None
    assert done.reason.startswith("5 deliveries were past retention before their turn came")


async def test_a_job_that_another_worker_is_at_is_left_to_it(real: Bench, in_postgres: InPostgres) -> None:
    endpoint_id = await real.endpoint("a")
    await dead(real)
    job = await make(real, endpoint_id=endpoint_id)
    async with driver(in_postgres._engine) as connection, connection.transaction():
        await connection.execute("SELECT FROM replay_jobs WHERE id = $1 FOR UPDATE", job.id)
        assert await real.database.replays.step("org_1", "") is None


async def test_who_replays_at_a_subscription_makes_a_step_there_come_later(
    real: Bench, in_postgres: InPostgres
) -> None:
    """Else both could find the same number free, one after the other's delivery has ended."""
    endpoint_id = await real.endpoint("a")
    keys = await dead(real, 2)
    job = await make(real, endpoint_id=endpoint_id)
    await step(real)
    await real.database.pass_time(1)
    async with driver(in_postgres._engine) as connection, connection.transaction():
        await connection.execute("SELECT FROM subscriptions FOR NO KEY UPDATE")
        later = await step(real)
        assert (later.has_worked, later.made_count, later.state) == (False, 0, ReplayState.RUNNING)
    assert await run(real, job) == again(keys)


async def test_two_jobs_over_the_same_deliveries_make_each_once_between_them(real: Bench) -> None:
    """Taken at the same time by two workers, with what they make ending in between."""
    endpoint_id = await real.endpoint("a")
    keys = await ended(real, 40)
    jobs = [await make(real, endpoint_id=endpoint_id, states=(State.DELIVERED,)) for _ in range(2)]
    made: list[DeliveryKey] = []
    done: list[ReplayJob] = []
    for _ in range(STEPS_MAX):
        await asyncio.gather(*(real.database.replays.step("org_1", job.id) for job in jobs), sent(real))
        await real.database.pass_time(1)
        made += await sent(real)
        done = [await show(real, job) for job in jobs]
        if all(job.ended_at is not None for job in done):
            break
    assert [job.state for job in done] == [ReplayState.DONE] * 2
    assert sum(job.created_count for job in done) == 40
    assert sum(job.skipped[SkipReason.SUPERSEDED] for job in done) == 40
    assert {(await real.show(key)).state for key in again(keys)} == {State.DELIVERED}
    assert set(made) <= set(again(keys))


async def test_of_many_parts_a_step_looks_at_few_and_comes_to_all(real: Bench, in_postgres: InPostgres) -> None:
    """Also where those before are paused."""
    endpoints = sorted([await real.endpoint(f"e{number}") for number in range(PARTS_MAX + 5)])
    await dead(real, 1)
    job = await make(real, event_type="message.sent")
    for _ in endpoints:
        await step(real)
    for endpoint_id in endpoints[: PARTS_MAX + 2]:
        await real.administration.pause_endpoint("org_1", endpoint_id, True)  # noqa: FBT003
    made = 0
    for _ in range(12):
        await real.database.pass_time(1)
        made += (await step(real)).made_count
    assert made == 3
    assert (await show(real, job)).state is ReplayState.RUNNING


async def test_a_part_whose_retries_wait_rests(real: Bench, in_postgres: InPostgres) -> None:
    endpoint_id = await real.endpoint("a")
    await dead(real, 8)
    job = await make(real, endpoint_id=endpoint_id)
    for _ in range(2):
        await step(real)
        await real.database.pass_time(1)
    async with driver(in_postgres._engine) as connection:
        await connection.execute(FILL, job.id, OPEN_MAX)
        assert not (await step(real)).has_worked
        rests = "SELECT rests_until > now() FROM replay_parts WHERE job_id = $1"
        assert await connection.fetchval(rests, job.id)
        await connection.execute("DELETE FROM open_deliveries WHERE subscription_id < 0")
        assert not (await step(real)).has_worked, "it looks again later"
        await connection.execute("UPDATE replay_parts SET rests_until = now()")
    await sent(real)
    await run(real, job)


FILL = """
WITH filled AS (
    INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id, event_type, state,
                                 claims_made, attempts_made, attempts_recorded, next_attempt_at)
    SELECT e.uid, -n, e.organization_id, p.endpoint_id, e.event_id, e.event_type, 'pending', 1, 1, 1, 'infinity'
      FROM replay_parts p, (SELECT * FROM events LIMIT 1) e, generate_series(1, $2::int) n WHERE p.job_id = $1
    RETURNING *
)
INSERT INTO replay_made SELECT $1, endpoint_id, event_uid, subscription_id, replay_number FROM filled
"""


async def test_a_delivery_that_was_made_twice_holds_up_no_settlement(real: Bench, in_postgres: InPostgres) -> None:
    """It cannot be any more; but the batch that it stood in would never be settled."""
    await real.endpoint("a")
    [twice] = await ended(real, 1)
    async with driver(in_postgres._engine) as connection:
        await connection.execute(
            """INSERT INTO open_deliveries (event_uid, subscription_id, replay_number, organization_id, endpoint_id,
                                            event_id, event_type, state, claims_made)
               SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type,
                      'pending', 0 FROM final_deliveries"""
        )
    [other] = await real.pending(1)
    claims = await real.claim()
    assert {claim.delivery.key for claim in claims} == {twice, other}
    await real.settle(*(settled_by(claim) for claim in claims))
    assert {(await real.show(key)).state for key in (twice, other)} == {State.DELIVERED}
    assert not await real.claim()


async def test_a_step_that_the_database_refuses_ends_the_job(real: Bench, in_postgres: InPostgres) -> None:
    endpoint_id = await real.endpoint("a")
    await dead(real)
    job = await make(real, endpoint_id=endpoint_id)
    await step(real)
    async with driver(in_postgres._engine) as connection:
        await connection.execute(
            "ALTER TABLE open_deliveries ADD CONSTRAINT no_replay CHECK (replay_number = 0) NOT VALID"
        )
        try:
            await real.database.pass_time(1)
            assert (await step(real)).state is ReplayState.FAILED
        finally:
            await connection.execute("ALTER TABLE open_deliveries DROP CONSTRAINT no_replay")
    failed = await show(real, job)
    assert (failed.state, failed.created_count) == (ReplayState.FAILED, 0)
    assert failed.reason is not None
    assert "no_replay" in failed.reason
    assert await real.database.replays.next_organization("", []) is None


async def test_jobs_are_forgotten_with_the_deliveries_they_made(real: Bench, in_postgres: InPostgres) -> None:
    endpoint_id = await real.endpoint("a")
    await dead(real)
    job, other = await make(real, endpoint_id=endpoint_id), await make(real, endpoint_id=endpoint_id)
    paused = await real.database.replay_jobs.order("org_1", other.id, ReplayOrder.PAUSE, by=SOMEBODY)
    await run(real, job)
    async with driver(in_postgres._engine) as connection:
        for days, is_there in ((29, True), (31, False)):
            at = datetime.now(UTC) - timedelta(days=days)
            await connection.execute("UPDATE replay_jobs SET ended_at = $2 WHERE id = $1", job.id, at)
            await in_postgres.retention(30).purge()
            assert (await real.database.replay_jobs.find("org_1", job.id) is not None) == is_there
    assert await show(real, other) == paused
