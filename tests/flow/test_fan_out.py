"""Events whose fan-out is deferred: too wide, or of a directory that keeps changing."""

import pytest

from service.core.deliveries.fairness.lanes import LaneLimits
from service.core.endpoints.directory import NARROW_MAX
from service.flow import fan_out
from service.flow.fan_out import CHUNK_MAX
from service.flow.intake.record import DELIVERIES_MAX
from service.ports.errors import RefusedError, UnavailableError
from service.ports.observer import FannedOut
from service.ports.store import Disposition
from tests.fakes.events import body_of, event_of
from tests.flow.worker import Worker

SMALL = "org_small"


async def _wide(worker: Worker, count: int = NARROW_MAX + 1) -> None:
    for number in range(count):
        await worker.endpoint(f"wide-{number:05}")


async def _small(worker: Worker) -> None:
    await worker.administration.create_organization(SMALL)
    await worker.administration.add_endpoint(SMALL, "https://small.example/", ["message.sent"])


async def test_a_wide_event_is_recorded_and_acked_at_once_and_sent_to_everyone() -> None:
    async with Worker() as worker:
        await _wide(worker)
        worker.source.publish(body_of())
        worker.start_settle()
        worker.start_intake()
        await worker.source.until_acked(1)
        assert worker.database.deliveries == {}
        assert worker.observer.recorded == [(1, 0)]
        worker.start(worker.fan_out.run(), worker.dispatch.run())
        await worker.observer.until_settled(NARROW_MAX + 1)
        assert set(worker.states()) == {"delivered"}
        assert [each.delivery_count for each in worker.observer.of(FannedOut)] == [NARROW_MAX + 1]


async def test_an_event_that_is_not_wide_is_fanned_out_at_once() -> None:
    async with Worker(delivers=False) as worker:
        await _wide(worker, NARROW_MAX)
        await worker.intake.take_in([event_of()], "test")
        assert len(worker.database.deliveries) == NARROW_MAX
        assert worker.database.fan_outs == {}


async def test_a_transaction_is_bounded_in_deliveries() -> None:
    async with Worker(delivers=False) as worker:
        await _wide(worker, NARROW_MAX)
        events = [event_of(id=f"evt_{number:03}") for number in range(25)]
        assert await worker.intake.take_in(events, "test") == [Disposition.RECORDED] * 25
        assert len(worker.database.deliveries) == 25 * NARROW_MAX
        assert [count for verb, count in worker.store.calls if verb == "record"] == [10, 10, 5]
        assert DELIVERIES_MAX == 10 * NARROW_MAX


async def test_organizations_take_turns() -> None:
    """A small one with one event waits for one chunk of each wide one, not for all of them."""
    async with Worker(delivers=False) as worker:
        await _wide(worker, CHUNK_MAX + 100)
        await _small(worker)
        events = [event_of(id=f"evt_{number}") for number in range(20)]
        await worker.intake.take_in(events, "test")
        small = event_of(id="evt_small", organization_id=SMALL)
        worker.subscriptions.is_changing.add(SMALL)
        await worker.intake.take_in([small], "test")
        worker.start(worker.fan_out.run())
        await worker.observer.until(lambda _: len(worker.fan_outs.steps) >= 2)
        assert worker.fan_outs.steps[:2] == [("org_1", CHUNK_MAX), (SMALL, 1)]


async def test_a_wide_organization_waits_until_its_chunk_is_sent_but_not_for_ever() -> None:
    async with Worker(delivers=False, limits=LaneLimits(held_max=10)) as worker:
        await _wide(worker, CHUNK_MAX + 100)
        await worker.intake.take_in([event_of(id="evt_1"), event_of(id="evt_2")], "test")
        worker.start(worker.fan_out.run())
        await worker.clock.until_pauses(1)
        assert worker.fan_outs.steps == [("org_1", CHUNK_MAX)], "nobody claims, so nothing is sent"
        worker.clock.advance(fan_out.RESTING_POLL_SECONDS)
        await worker.clock.until_pauses(2)
        assert len(worker.fan_outs.steps) == 1
        worker.clock.advance(fan_out.REST_MAX_SECONDS)
        await worker.clock.until_pauses(3)
        assert [count for _, count in worker.fan_outs.steps] == [CHUNK_MAX, 100, CHUNK_MAX]


@pytest.mark.parametrize("error", [RefusedError("no"), UnavailableError("away")])
async def test_an_organization_whose_step_fails_rests_and_the_others_go_on(error: Exception) -> None:
    async with Worker(delivers=False) as worker:
        await _wide(worker)
        await _small(worker)
        worker.subscriptions.is_changing.add(SMALL)
        await worker.intake.take_in([event_of(), event_of(id="evt_small", organization_id=SMALL)], "test")
        worker.fan_outs.errors.append(error)
        assert await worker.fan_out.round()
        assert worker.fan_outs.steps == [(SMALL, 1)]
        assert [(where, told) for where, told, _ in worker.observer.troubles] == [("fan_out", error)]
        assert not await worker.fan_out.round()
        worker.clock.advance(fan_out.REFUSED_REST_SECONDS)
        assert await worker.fan_out.round()
        assert worker.fan_outs.steps[1:] == [("org_1", NARROW_MAX + 1)]


async def test_filters_are_asked_and_an_unreadable_one_lets_everything_through() -> None:
    async with Worker(delivers=False) as worker:
        await _wide(worker)
        ids = list(worker.database.endpoints)
        for endpoint_id in ids:
            await worker.administration.set_endpoint(endpoint_id, filter={"match": {"data.x": {"eq": 1}}})
        await worker.administration.set_endpoint(ids[7], filter={"match": {"data.x": {"eq": 2}}})
        await worker.administration.set_endpoint(ids[8], filter={"match": "unreadable"})
        await worker.administration.set_endpoint(
            ids[9], filter={"match": {"data.y": {"in": ["a" * 999, "b" * 999, "c" * 999]}}}
        )
        await worker.administration.set_endpoint(ids[10], filter={"match": {"data.x": {"exists": True}}})
        for endpoint_id in ids[11:]:
            await worker.administration.set_endpoint(endpoint_id, filter=None)
        await worker.intake.take_in([event_of(extra=1)], "test")
        await worker.fan_out.round()
        got = {row.delivery.endpoint_id for row in worker.database.deliveries.values()}
        assert got == {ids[8], *ids[11:]}


async def test_an_organization_that_keeps_changing_is_recorded_all_the_same_and_holds_up_no_other() -> None:
    async with Worker(delivers=False) as worker:
        await worker.endpoint("a")
        await _small(worker)
        worker.subscriptions.is_changing.add("org_1")
        events = [event_of(), event_of(id="evt_small", organization_id=SMALL)]
        assert await worker.intake.take_in(events, "test") == [Disposition.RECORDED] * 2
        records = [count for verb, count in worker.store.calls if verb == "record"]
        assert records == [2, 1, 1], "the small one in the first transaction; the other at last whatever changes"
        assert [row.delivery.organization_id for row in worker.database.deliveries.values()] == [SMALL]
        await worker.fan_out.round()
        assert sorted(row.delivery.organization_id for row in worker.database.deliveries.values()) == ["org_1", SMALL]
