"""Nothing is sent to an endpoint from its ``valid_until`` on, whoever holds what in memory, and however late upkeep is."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.core.deliveries.delivery import Lease, State
from service.core.deliveries.settlement import Settled
from service.core.endpoints.expiry import Expiry
from service.core.endpoints.gates.gate import HEEDED_WITHIN_SECONDS
from service.core.reason import Reason
from service.flow.upkeep.expiry import END_BATCH_MAX, REFUSED_REST_SECONDS
from service.ports.errors import RefusedError
from service.ports.observer import EndpointExpires, Trouble
from tests.fakes.events import event_of
from tests.flow.worker import Worker

HOUR_SECONDS = 3_600.0


async def _until(worker: Worker, endpoint_id: str, seconds: float) -> datetime:
    valid_until = worker.clock.now() + timedelta(seconds=seconds)
    await worker.administration.set_endpoint(endpoint_id, valid_until=valid_until)
    return valid_until


async def _publish(worker: Worker, count: int = 1, prefix: str = "evt") -> None:
    await worker.intake.take_in([event_of(id=f"{prefix}_{number}") for number in range(count)], "test")


def _ends(worker: Worker) -> Sequence[tuple[State, Reason | None]]:
    return [(row.state, row.reason) for row in worker.database.deliveries.values()]


CANCELLED = (State.CANCELLED, Reason.ENDPOINT_EXPIRED)


async def test_what_is_claimed_after_its_time_is_cancelled_though_upkeep_is_late() -> None:
    async with Worker(delivers=False) as worker:
        endpoint_id = await worker.endpoint("a")
        await _until(worker, endpoint_id, HOUR_SECONDS)
        await _publish(worker, 2)
        worker.clock.advance(HOUR_SECONDS)
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.observer.until_settled(2)
        assert _ends(worker) == [CANCELLED] * 2
        assert worker.sender.requests == []
        await _publish(worker, prefix="later")
        assert len(worker.database.deliveries) == 2, "no delivery for an event that came later"


async def test_what_waits_in_memory_is_not_sent_after_its_time() -> None:
    async with Worker(delivers=False) as worker:
        endpoint_id = await worker.endpoint("a")
        await _until(worker, endpoint_id, 2.0)
        await _publish(worker)
        (lease,) = await worker.leases()
        worker.clock.advance(2.0)
        assert await worker.deliver(lease) is None
        assert worker.sender.requests == []


async def test_more_time_given_at_the_last_moment_is_not_lost_on_what_waits_in_memory() -> None:
    async with Worker(delivers=False) as worker:
        endpoint_id = await worker.endpoint("a")
        await _until(worker, endpoint_id, 2.0)
        await _publish(worker)
        (lease,) = await worker.leases()
        await _until(worker, endpoint_id, HOUR_SECONDS)
        worker.clock.advance(2.0)
        assert await worker.deliver(lease) is None, "this copy of the endpoint is from before"
        worker.settle.give_back([lease])
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.observer.until_settled(1)
        assert _ends(worker) == [(State.DELIVERED, None)]


async def test_upkeep_ends_it_and_what_was_leased_is_cancelled_for_the_same_reason() -> None:
    async with Worker(delivers=False) as worker:
        endpoint_id = await worker.endpoint("a")
        valid_until = await _until(worker, endpoint_id, 2.0)
        await _publish(worker)
        (lease,) = await worker.leases()
        await _publish(worker, prefix="other")
        assert await worker.expiries.look_once() is False
        worker.clock.advance(2.0)
        assert await worker.expiries.look_once() is False
        assert [each.expiry.valid_until for each in worker.observer.of(EndpointExpires)] == [valid_until]
        assert sorted(_ends(worker)) == sorted([(State.LEASED, None), CANCELLED], key=str)
        worker.settle.give_back([lease])
        worker.start_settle()
        worker.start(worker.dispatch.run())
        await worker.observer.until_settled(1)
        assert _ends(worker) == [CANCELLED] * 2
        assert worker.sender.requests == []


async def test_upkeep_looks_again_at_once_when_there_may_be_more() -> None:
    async with Worker(delivers=False) as worker:
        for number in range(END_BATCH_MAX + 1):
            await _until(worker, await worker.endpoint(f"e{number}"), 1.0)
        worker.clock.advance(1.0)
        assert await worker.expiries.look_once() is True
        assert await worker.expiries.look_once() is False
        assert len(worker.observer.of(EndpointExpires)) == END_BATCH_MAX + 1


async def test_an_organization_whose_rows_are_refused_rests_and_the_others_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Worker(delivers=False) as worker:
        for number in range(END_BATCH_MAX):
            await _until(worker, await worker.endpoint(f"e{number}"), 1.0)
        worker.clock.advance(1.0)
        await worker.administration.create_organization("org_2")
        theirs = await worker.administration.add_endpoint("org_2", "https://other.example/", ["message.sent"])
        await _until(worker, theirs.id, 0.0)
        end = worker.expiry_store.end

        async def refusing(organization_id: str, endpoint_ids: Sequence[str]) -> Sequence[Expiry]:
            if organization_id == "org_1":
                raise RefusedError("no partition of relation")
            return await end(organization_id, endpoint_ids)

        monkeypatch.setattr(worker.expiry_store, "end", refusing)
        assert await worker.expiries.look_once() is True, "the refused ones filled the batch"
        (trouble,) = worker.observer.of(Trouble)
        assert (trouble.where, trouble.context) == ("expiry", {"organization_id": "org_1"})
        assert await worker.expiries.look_once() is False
        assert [each.expiry.endpoint_id for each in worker.observer.of(EndpointExpires)] == [theirs.id]
        assert len(worker.observer.of(Trouble)) == 1, "it rests"
        monkeypatch.undo()
        worker.clock.advance(REFUSED_REST_SECONDS)
        await worker.expiries.look_once()
        assert len(worker.observer.of(EndpointExpires)) == END_BATCH_MAX + 1


SECONDS = st.sampled_from([1, 3, 6, 20])
STEPS = st.lists(
    st.tuples(st.sampled_from(["publish", "claim", "attempt", "commit", "sweep"]), st.none())
    | st.tuples(st.sampled_from(["tick", "move"]), SECONDS),
    max_size=40,
)


@given(first=SECONDS, steps=STEPS)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_on_no_walk_does_a_request_begin_after_the_end_and_all_that_was_open_ends(
    first: int, steps: Sequence[tuple[str, int | None]]
) -> None:
    asyncio.run(_walk(first, steps))


async def _walk(first: int, steps: Sequence[tuple[str, int | None]]) -> None:
    async with Worker(delivers=False) as worker:
        worker.start_settle()
        walk = Walk(worker, await worker.endpoint("a"))
        await walk.move(first)
        for name, seconds in steps:
            await getattr(walk, name)(*([] if seconds is None else [seconds]))
        await walk.finish()


class Walk:
    """One worker, one endpoint whose end moves, and what may happen to them."""

    def __init__(self, worker: Worker, endpoint_id: str) -> None:
        self.worker = worker
        self.endpoint_id = endpoint_id
        self.known: list[tuple[datetime, datetime]] = []  # each end that it had, after since when
        self.leases: list[Lease] = []
        self.settled: list[Settled] = []
        self.published_count = 0

    @property
    def is_over(self) -> bool:
        database = self.worker.database
        return database.endpoints[self.endpoint_id].is_removed or database.has_expired(self.endpoint_id)

    def heeded(self, at: datetime) -> datetime:
        """The latest end that a worker may still know of at this time."""
        heard_by = at - timedelta(seconds=HEEDED_WITHIN_SECONDS)
        heard = [end for since, end in self.known if since <= heard_by][-1:]
        return max([*heard, *(end for since, end in self.known if since > heard_by)])

    async def publish(self) -> None:
        before, self.published_count = len(self.worker.database.deliveries), self.published_count + 1
        await _publish(self.worker, prefix=f"evt_{self.published_count}")
        assert len(self.worker.database.deliveries) == before + (not self.is_over)

    async def claim(self) -> None:
        self.leases += await self.worker.leases()

    async def attempt(self) -> None:
        for lease in self.leases:
            settled = await self.worker.dispatch._attempts.of(lease)(lease)
            if settled is None:
                self.worker.settle.give_back([lease])
            else:
                self.settled.append(settled)
        self.leases.clear()

    async def commit(self) -> None:
        await self.worker.store.settle(self.settled)
        self.settled.clear()
        await self.worker.settle.drained()

    async def sweep(self) -> None:
        await self.worker.expiries.look_once()

    async def tick(self, seconds: int) -> None:
        self.worker.clock.advance(seconds)

    async def move(self, seconds: int) -> None:
        if not self.known or not self.is_over:
            self.known.append((self.worker.clock.now(), await _until(self.worker, self.endpoint_id, seconds)))

    async def finish(self) -> None:
        """When its end has come, all that was open ends, and no request has begun after the end."""
        await self.attempt()
        await self.commit()
        self.worker.clock.advance(HOUR_SECONDS)
        await self.worker.upkeep.rescue_once()
        await self.worker.settle.drained()
        self.worker.clock.advance(HOUR_SECONDS)
        self.worker.start(self.worker.dispatch.run())
        await self.worker.observer.until(lambda _: {*_ends(self.worker)} <= {CANCELLED, (State.DELIVERED, None)})
        assert [each.at for each in self.worker.observer.started if each.at >= self.heeded(each.at)] == []
