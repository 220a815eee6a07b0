"""The loop that takes the steps of replay jobs."""

import pytest

from service.core.deliveries.delivery import State
from service.core.replays.job import ReplayJob, ReplayState, ReplayWish
from service.flow import replay
from service.ports.errors import RefusedError, UnavailableError
from service.ports.observer import ReplaysMade
from tests.fakes.actor import SOMEBODY
from tests.fakes.events import event_of
from tests.flow.worker import Worker

OTHER = "org_other"


async def _delivered(worker: Worker, count: int, organization_id: str = "org_1") -> None:
    """Events whose deliveries have ended."""
    for number in range(count):
        event = event_of(id=f"evt_{organization_id}_{number}", organization_id=organization_id)
        await worker.intake.take_in([event], "test")
    for row in worker.database.deliveries.values():
        row.state, row.ended_at = State.DELIVERED, worker.database.now


async def _job(worker: Worker, organization_id: str = "org_1") -> ReplayJob:
    wish = ReplayWish(event_type="message.sent", states=(State.DELIVERED,), rate=1000)
    made = await worker.replays.create(organization_id, wish, by=SOMEBODY)
    assert isinstance(made, ReplayJob)
    return made


async def _other(worker: Worker) -> None:
    await worker.administration.create_organization(OTHER)
    await worker.administration.add_endpoint(OTHER, "https://other.example/", ["message.sent"])


async def test_a_job_is_done_and_its_deliveries_are_sent() -> None:
    async with Worker(delivers=False) as worker:
        await worker.endpoint("a")
        await _delivered(worker, 3)
        job = await _job(worker)
        worker.start_settle()
        worker.start(worker.replay.run(), worker.dispatch.run())
        await worker.clock.until_pauses(2)
        worker.clock.advance(1)
        await worker.observer.until_settled(3)
        shown = await worker.replays.find("org_1", job.id)
        assert shown is not None
        assert (shown.state, shown.created_count) == (ReplayState.DONE, 3)
        [made] = worker.observer.of(ReplaysMade)
        assert (made.job_id, made.made_count, made.state) == (job.id, 3, ReplayState.DONE)
        assert [request.headers["webhook-replay"][-2:] for request in worker.sender.requests] == ["_1"] * 3


async def test_it_polls_seldom_while_there_are_no_jobs_and_often_while_there_are() -> None:
    async with Worker(delivers=False) as worker:
        await worker.endpoint("a")
        await _delivered(worker, 40)
        worker.start(worker.replay.run())
        await worker.clock.until_pauses(1)
        job = await _job(worker)
        worker.clock.advance(replay.POLL_SECONDS)
        assert worker.replays.steps == []
        worker.clock.advance(replay.IDLE_POLL_SECONDS)
        await worker.clock.until_pauses(2)
        assert {step.job_id for _, step in worker.replays.steps} == {job.id}
        worker.clock.advance(replay.POLL_SECONDS)
        await worker.clock.until_pauses(3)
        shown = await worker.replays.find("org_1", job.id)
        assert shown is not None
        assert shown.state is ReplayState.RUNNING, "nobody sends what it made"


async def test_organizations_take_turns_and_so_do_their_jobs() -> None:
    async with Worker(delivers=False) as worker:
        await worker.endpoint("a")
        await _other(worker)
        first, second, third = await _job(worker), await _job(worker), await _job(worker, OTHER)
        assert await worker.replay.round()
        assert await worker.replay.round()
        stepped = [(owner, step.job_id) for owner, step in worker.replays.steps]
        assert stepped == [("org_1", first.id), (OTHER, third.id), ("org_1", second.id), (OTHER, third.id)]


@pytest.mark.parametrize("error", [RefusedError("no"), UnavailableError("away")])
async def test_an_organization_whose_step_fails_rests_and_the_others_go_on(error: Exception) -> None:
    async with Worker(delivers=False) as worker:
        await worker.endpoint("a")
        await _other(worker)
        await _job(worker)
        await _job(worker, OTHER)
        worker.replays.errors.append(error)
        assert await worker.replay.round()
        assert [owner for owner, _ in worker.replays.steps] == [OTHER]
        assert [(where, told) for where, told, _ in worker.observer.troubles] == [("replay", error)]
        await worker.replay.round()
        assert "org_1" not in [owner for owner, _ in worker.replays.steps]
        worker.clock.advance(replay.FAILED_REST_SECONDS)
        await worker.replay.round()
        assert "org_1" in [owner for owner, _ in worker.replays.steps]
