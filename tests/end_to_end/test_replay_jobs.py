"""Replay jobs whose workers are killed with SIGKILL: each delivery is made again once, and none is left out."""

import random
import signal

import asyncpg
import pytest

from service.adapters.postgres.replays.jobs import ReplayJobs
from service.core.deliveries.delivery import State
from service.core.replays.job import ReplayJob, ReplayOrder, ReplayState, ReplayWish
from tests.end_to_end.crashing_worker import REPLAYING
from tests.end_to_end.town import ORGANIZATION, Town
from tests.end_to_end.waiting import until
from tests.fakes.actor import SOMEBODY

EVENTS = 100
TYPE = "message.sent"
PATHS = ("/ok/a", "/ok/b")


async def delivered(town: Town) -> None:
    """Events that have arrived at both endpoints."""
    for path in PATHS:
        await town.add_endpoint(path, TYPE)
    worker = await town.start_worker()
    await town.publish([town.event(number, TYPE) for number in range(EVENTS)])
    await town.all_ended()
    worker.terminate()
    assert await worker.ended() == 0, worker.said()
    found = await town.judge()
    assert not found.wrong(), found.wrong()


async def begin(town: Town, rate: int = 1000) -> ReplayJob:
    """A job for all of it, with a part for each endpoint."""
    wish = ReplayWish(event_type=TYPE, states=(State.DELIVERED,), rate=rate)
    made = await ReplayJobs(town.engine).create(ORGANIZATION, wish, by=SOMEBODY)
    assert isinstance(made, ReplayJob)
    return made


async def show(town: Town, job: ReplayJob) -> ReplayJob:
    found = await ReplayJobs(town.engine).find(ORGANIZATION, job.id)
    assert found is not None
    return found


async def judged(town: Town, job: ReplayJob, held: set[str]) -> None:
    """Wait for the end, and see that each delivery was made again once and arrived.

    Only what a killed worker held may have arrived more often.
    """

    async def is_over() -> bool:
        return (await show(town, job)).ended_at is not None and await town.have_all_ended()

    await until(is_over, "the job is done and its deliveries have ended", told=town.told)
    done = await show(town, job)
    count = EVENTS * len(PATHS)
    assert (done.state, done.total_count, done.created_count, done.skipped_count) == (ReplayState.DONE, count, count, 0)
    connection = await asyncpg.connect(town.database_url)
    try:
        rows = await connection.fetch(
            """SELECT count(*), min(replay_number), max(replay_number), count(DISTINCT replay_number), bool_and(state = 'delivered')
                 FROM final_deliveries GROUP BY event_uid, subscription_id"""
        )
    finally:
        await connection.close()
    assert len(rows) == count, "none is left out"
    assert {tuple(row) for row in rows} == {(2, 0, 1, 2, True)}, "none is made twice"
    arrived: dict[tuple[str, str], int] = {}
    for line in town.ledger.lines():
        assert line.complaint is None
        if line.replay is not None:
            arrived[line.id, line.path] = arrived.get((line.id, line.path), 0) + 1
    assert len(arrived) == count
    twice = {f"{event_id} at {path}" for (event_id, path), times in arrived.items() if times > 1}
    assert twice <= held, f"came again though no killed worker held them: {sorted(twice - held)}"


@pytest.mark.parametrize("point", REPLAYING)
async def test_a_worker_killed_at_this_point_leaves_no_gap_and_repeats_nothing(town: Town, point: str) -> None:
    await delivered(town)
    job = await begin(town)
    command = ("tests.end_to_end.crashing_worker", point, "4")
    dying = await town.start_worker(*command, wait=False)
    assert await dying.ended() == -signal.SIGKILL, dying.said()
    assert (await show(town, job)).created_count < EVENTS * len(PATHS), "it was killed on the way"
    held = await town.leased_by(dying)
    await town.end_leases(dying)
    await town.start_worker()
    await judged(town, job, held)


async def test_workers_killed_at_random_and_a_pause_leave_no_gap_and_repeat_nothing(town: Town) -> None:
    chance = random.Random(3)  # noqa: S311 - the same kills every time, as far as the moment is ours to choose
    await delivered(town)
    before = len(town.ledger.lines())
    job = await begin(town, rate=200)
    workers = [await town.start_worker() for _ in range(2)]
    held: set[str] = set()
    for moment in sorted(chance.sample(range(10, 150), 3)):
        await town.requests_came(before + moment)
        place = chance.randrange(len(workers))
        workers[place].kill()
        held |= await town.leased_by(workers[place])
        await town.end_leases(workers[place])
        workers[place] = await town.start_worker()
    jobs = ReplayJobs(town.engine)
    if isinstance(await jobs.order(ORGANIZATION, job.id, ReplayOrder.PAUSE, by=SOMEBODY), ReplayJob):
        await jobs.order(ORGANIZATION, job.id, ReplayOrder.RESUME, by=SOMEBODY)
    await judged(town, job, held)
