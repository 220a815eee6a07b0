"""The thread for what takes long: whoever has work for it takes turns with the others."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from service.core.events.event import Event
from service.flow.intake.costly import Costly
from service.flow.intake.judgement import judge
from service.flow.intake.turns import Turns
from tests.fakes.events import event_of
from tests.fakes.schemas import DOUBLING
from tests.flow.worker import Worker

SECONDS_MAX = 60.0


class Thread:
    """Turns whose thread is held by work that was there before, until ``let_go``."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.done: list[str] = []
        self._may_end = threading.Event()
        self._holding = asyncio.create_task(self.turns.run("before", self._hold))

    def _hold(self) -> None:
        assert self._may_end.wait(SECONDS_MAX)

    def work(self, name: str) -> Callable[[], None]:
        return lambda: self.done.append(name)

    def ask(self, party: str, name: str) -> asyncio.Task[None]:
        return asyncio.create_task(self.turns.run(party, self.work(name)))

    async def let_go(self, *waiting: asyncio.Task[None]) -> None:
        await asyncio.sleep(0)  # they have asked
        self._may_end.set()
        async with asyncio.timeout(SECONDS_MAX):
            await asyncio.gather(self._holding, *waiting, return_exceptions=True)


async def test_a_party_waits_for_one_turn_of_another_however_much_that_wants() -> None:
    thread = Thread()
    of_a = [thread.ask("a", f"a{number}") for number in range(40)]
    of_b = [thread.ask("b", f"b{number}") for number in range(3)]
    await thread.let_go(*of_a, *of_b)
    assert thread.done[:6] == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert thread.done[6:] == [f"a{number}" for number in range(3, 40)]


async def test_whoever_stops_waiting_takes_no_turn_and_holds_up_nobody() -> None:
    thread = Thread()
    of_a = [thread.ask("a", f"a{number}") for number in range(40)]
    b = thread.ask("b", "b")
    await asyncio.sleep(0)
    for each in of_a:
        each.cancel()
    await thread.let_go(*of_a, b)
    assert thread.done == ["b"]
    assert not thread.turns._waiting


async def test_work_whose_party_has_left_in_its_turn_ends_alone_and_the_next_begins() -> None:
    thread = Thread()
    after = thread.ask("b", "b")
    await asyncio.sleep(0)
    thread._holding.cancel()
    await thread.let_go(after)
    assert thread.done == ["b"]


async def test_what_a_turn_raises_reaches_who_asked() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError):
        await turns.run("a", lambda: 1 // 0)
    assert await turns.run("a", lambda: 7) == 7


async def test_what_an_organization_posts_takes_no_turns_from_another_nor_from_the_broker() -> None:
    async with Worker(delivers=False) as worker:
        await worker.administration.create_organization("org_2")
        ended: list[str] = []

        async def post(name: str, organization_id: str) -> None:
            await worker.intake.judge([_costly(name, organization_id)])
            ended.append(name)

        async def consume(name: str, organization_id: str) -> None:
            costly, (event,) = Costly(worker.intake.turns), (_costly(name, organization_id),)
            await judge([event], worker.directory, costly.judge_in_thread)
            ended.append(name)

        for organization_id in ("org_1", "org_2"):
            await worker.administration.register_event_type(organization_id, "order.placed", DOUBLING)
        async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as tasks:
            for number in range(10):
                tasks.create_task(post(f"posted{number}", "org_1"))
            tasks.create_task(post("other", "org_2"))
            tasks.create_task(consume("broker", "org_1"))
    assert {"other", "broker"} < {*ended[:5]}


def _costly(event_id: str, organization_id: str = "org_1") -> Event:
    return event_of(id=event_id, type="order.placed", data={"a": 1}, organization_id=organization_id)
