"""Order by key in a worker: the next of a key follows the commit of the one before, and other keys do not wait."""

import asyncio
import json

from service.core.deliveries.request import Fault, Reply, Request
from tests.contract.stores.line_walk import about, done
from tests.fakes.delivery_store import alike
from tests.fakes.events import event_of
from tests.fakes.sender import ScriptedSender
from tests.fakes.settlements import LOST
from tests.flow.worker import LEASE_SECONDS, Worker


async def _ordered(worker: Worker) -> str:
    endpoint_id = await worker.endpoint("a")
    await worker.administration.order_endpoint(endpoint_id, "data.message.id")
    return endpoint_id


async def _publish(worker: Worker, *message_ids: str) -> None:
    """Events of one batch, the oldest first; the broker handed them over in the opposite order."""
    events = [event_of(id=f"evt_{n:03}", **about(each, len(message_ids) - n)) for n, each in enumerate(message_ids)]
    await worker.intake.take_in(events[::-1], "test")


def _start(worker: Worker) -> None:
    worker.start_settle()
    worker.start(worker.dispatch.run(), worker.dispatch.run_limited())


def _sent(worker: Worker) -> list[str]:
    return [json.loads(request.body)["id"] for request in worker.sender.requests]


class SlowKey(ScriptedSender):
    """Hangs on what is about the message "slow"."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def send(self, request: Request) -> Reply | Fault:
        if json.loads(request.body)["data"]["message"]["id"] == "slow":
            self.requests.append(request)
            await self.answers.wait()
            return Reply(200, 1)
        return await super().send(request)


async def test_an_ordered_delivery_is_never_born_leased() -> None:
    async with Worker() as worker:
        await _ordered(worker)
        await _publish(worker, "m", "n")
        assert worker.states() == ["pending"] * 2


async def test_the_next_of_a_key_follows_the_commit_and_not_the_clock() -> None:
    """The clock stands still: nothing is claimed because time has passed."""
    async with Worker() as worker:
        await _ordered(worker)
        _start(worker)
        await worker.clock.until_pauses(1)
        await _publish(worker, *["m"] * 20)
        await worker.observer.until_settled(20)
        assert _sent(worker) == [f"evt_{n:03}" for n in range(20)]
        assert not worker.database.lines
        assert not worker.database.heads


async def test_one_slow_key_does_not_slow_the_others() -> None:
    sender = SlowKey()
    async with Worker(sender=sender) as worker:
        await _ordered(worker)
        _start(worker)
        await worker.clock.until_pauses(1)
        await _publish(worker, *["slow", "m", "n", "slow", "o"] * 20)
        await worker.observer.until_settled(60)
        assert [json.loads(request.body)["data"]["message"]["id"] for request in sender.requests].count("slow") == 1
        sender.answers.set()
        await worker.observer.until_settled(100)
        assert set(worker.states()) == {"delivered"}


async def test_one_failing_key_does_not_slow_the_others() -> None:
    async with Worker() as worker:
        await _ordered(worker)
        worker.sender.otherwise = lambda request: Reply(500 if b'"bad"' in request.body else 200, 1)
        _start(worker)
        await worker.clock.until_pauses(1)
        await _publish(worker, *["bad", "m", "bad", "n"] * 10)
        await worker.observer.until_settled(21)
        assert worker.states().count("delivered") == 20
        assert worker.states().count("pending") == 20


async def test_a_stopped_worker_does_not_send_a_head_after_its_successor() -> None:
    async with Worker() as worker:
        await _ordered(worker)
        await _publish(worker, "m", "m")
        (stopped,) = await worker.leases()
        worker.clock.advance(LEASE_SECONDS + 1)
        (rescued,) = await worker.store.rescue(10)
        await worker.store.settle([done(rescued, LOST)])
        worker.clock.advance(10)
        for _ in range(2):
            (claim,) = await worker.store.claim_due(alike(10))
            await worker.store.settle([done(claim)])
        assert set(worker.states()) == {"delivered"}
        assert await worker.deliver(stopped) is None
        assert not worker.sender.requests


async def test_a_deferred_fan_out_puts_its_deliveries_in_line() -> None:
    async with Worker() as worker:
        await _ordered(worker)
        worker.subscriptions.is_changing.add("org_1")
        await _publish(worker, "m", "m", "n")
        assert not worker.database.deliveries
        await worker.fan_out.round()
        await worker.fan_out.round()
        await worker.fan_out.round()
        assert len(worker.database.lines) == 3
        assert len({line for line, _ in worker.database.lines.values()}) == 2
        assert len(await worker.claim()) == 2
