"""Group commit: nothing is lost, nothing is told before it is committed, one bad row costs the others nothing."""

import asyncio
from collections.abc import Sequence

import pytest

from service.core.deliveries.settlement import Settled
from service.core.reason import Reason
from service.flow.settle import ALONGSIDE_MIN
from service.ports.errors import UnavailableError
from tests.fakes.delivery_store import AFTER_COMMIT, alike
from tests.fakes.events import event_of
from tests.fakes.settlements import lease_for, settled_by
from tests.flow.worker import Worker


async def _settled(worker: Worker, count: int, status: int = 200) -> Sequence[Settled]:
    await worker.endpoint("a")
    await worker.intake.take_in([event_of(id=f"evt_{number}") for number in range(count)], "test")
    claims = await worker.store.claim_due(alike(count))
    return [settled_by(claim, status) for claim in claims]


async def test_what_waits_is_committed_together() -> None:
    async with Worker(delivers=False, settle_batch_max=4) as worker:
        for settled in await _settled(worker, 10):
            await worker.settle.put(settled)
        worker.start_settle()
        await worker.settle.drained()
        assert sorted(worker.observer.settled_batches) == [2, 4, 4]
        assert all(moved for _, moved in worker.observer.settled)
        assert worker.states() == ["delivered"] * 10


async def test_a_few_wait_for_the_commit_that_runs_and_many_do_not() -> None:
    async with Worker(delivers=False) as worker:
        first, second, *others = await _settled(worker, 1 + ALONGSIDE_MIN)
        worker.store.fail("settle", UnavailableError("slow"))
        worker.start_settle()
        await worker.settle.put(first)
        await worker.clock.until_pauses(1)
        await worker.settle.put(second)
        for _ in range(10):
            await asyncio.sleep(0)
        assert worker.observer.settled_batches == []
        for settled in others:
            await worker.settle.put(settled)
        for _ in range(10):
            await asyncio.sleep(0)
        assert worker.observer.settled_batches == [ALONGSIDE_MIN]
        worker.clock.advance(1)
        await worker.settle.drained()
        assert worker.observer.settled_batches == [ALONGSIDE_MIN, 1]


async def test_nothing_is_told_before_it_is_committed_and_nothing_is_dropped() -> None:
    async with Worker(delivers=False) as worker:
        (settled,) = await _settled(worker, 1)
        worker.store.fail("settle", UnavailableError("away"), UnavailableError("away"))
        worker.start_settle()
        await worker.settle.put(settled)
        for count in (1, 2):
            await worker.clock.until_pauses(count)
            assert worker.observer.settled == []
            worker.clock.advance(10)
        await worker.settle.drained()
        assert worker.observer.settled == [(settled, True)]


async def test_a_commit_whose_answer_was_lost_moves_once() -> None:
    async with Worker(delivers=False) as worker:
        (settled,) = await _settled(worker, 1)
        worker.store.fail("settle", UnavailableError("cut off"), when=AFTER_COMMIT)
        worker.start_settle()
        await worker.settle.put(settled)
        await worker.clock.until_pauses(1)
        worker.clock.advance(1)
        await worker.settle.drained()
        assert worker.observer.settled == [(settled, False)]
        assert worker.states() == ["delivered"]


async def test_a_full_queue_slows_the_sending_down() -> None:
    async with Worker(delivers=False, settle_unsettled_max=2) as worker:
        first, second, third = await _settled(worker, 3)
        await worker.settle.put(first)
        await worker.settle.put(second)
        waiting = asyncio.create_task(worker.settle.put(third))
        worker.store.fail("settle", UnavailableError("away"))
        worker.start_settle()
        await worker.clock.until_pauses(1)
        assert not waiting.done()
        worker.clock.advance(1)
        await waiting
        await worker.settle.drained()
        assert worker.states() == ["delivered"] * 3


@pytest.mark.parametrize("culprit", range(5))
async def test_the_one_row_the_database_refuses_is_found_and_the_others_go_through(culprit: int) -> None:
    async with Worker(delivers=False) as worker:
        batch = await _settled(worker, 5)
        worker.store.refuses_settled = lambda settled: settled is batch[culprit]
        for settled in batch:
            await worker.settle.put(settled)
        worker.start_settle()
        await worker.settle.drained()
        assert worker.states() == ["delivered"] * 5
        assert [
            (moved, settled.attempt.detail)
            for settled, moved in worker.observer.settled
            if settled.attempt and settled.attempt.detail
        ] == [(True, f"the database refused what was observed: no column holds {batch[culprit].delivery.key}")]
        (trouble,) = worker.observer.troubles
        assert trouble[2] == {"delivery_id": str(batch[culprit].delivery.key)}


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [(200, "delivered", None), (500, "dead", Reason.INTERNAL), (410, "cancelled", Reason.GONE)],
)
async def test_if_not_even_the_bare_attempt_is_taken_the_delivery_ends_as_what_it_is(
    status: int, state: str, reason: Reason | None
) -> None:
    async with Worker(delivers=False) as worker:
        (settled,) = await _settled(worker, 1, status)
        worker.store.refuses_settled = lambda each: each.attempt is not None
        worker.start_settle()
        await worker.settle.put(settled)
        await worker.settle.drained()
        (row,) = worker.database.deliveries.values()
        assert (row.state.value, row.reason, row.attempts) == (state, reason, [])
        assert len(worker.observer.troubles) == 1


async def test_what_the_database_refuses_whatever_is_left_out_keeps_its_lease() -> None:
    """There is no day for it any more: retention deletes the row."""
    async with Worker(delivers=False) as worker:
        (settled,) = await _settled(worker, 1)
        worker.store.refuses_settled = lambda _: True
        worker.start_settle()
        await worker.settle.put(settled)
        await worker.settle.drained()
        assert worker.states() == ["leased"]
        assert len(worker.observer.troubles) == 1


async def test_hundreds_of_releases_take_one_statement_and_are_no_attempts() -> None:
    async with Worker(delivers=False, settle_batch_max=1000, settle_unsettled_max=1) as worker:
        await worker.endpoint("a")
        await worker.intake.take_in([event_of(id=f"evt_{number}") for number in range(500)], "test")
        leases = [lease_for(claim) for claim in await worker.claim()]
        worker.settle.give_back(leases)  # it does not wait, though so many may not be unsettled
        worker.start_settle()
        await worker.settle.drained()
        assert worker.states() == ["pending"] * 500
        assert worker.observer.settled_batches == [500]
        assert worker.observer.settled == []


async def test_drained_waits_for_what_is_being_committed() -> None:
    async with Worker(delivers=False) as worker:
        (settled,) = await _settled(worker, 1)
        worker.store.fail("settle", UnavailableError("away"))
        worker.start_settle()
        await worker.settle.put(settled)
        await worker.clock.until_pauses(1)
        drained = asyncio.create_task(worker.settle.drained())
        await worker.settle.put(settled)
        assert not drained.done()
        worker.clock.advance(1)
        await drained
        assert len(worker.observer.settled) == 2
