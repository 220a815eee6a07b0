"""Events that take long to judge wait by themselves."""

import asyncio
import json
import threading

import pytest

from service.core.events.event import Event
from service.core.events.own_types.bounded_validator import TooMuchWorkError
from service.core.events.own_types.own_type import OwnEventType
from service.core.reason import ParkReason
from service.flow.intake import costly as room
from service.flow.intake.costly import HELD_MAX, HELD_OF_ONE_MAX, TURN_MAX, TYPES_KNOWN_MAX, Costly
from service.flow.intake.turns import Turns
from service.ports.source import IncomingMessage
from tests.fakes.events import body_of, event_of
from tests.fakes.schemas import DOUBLING
from tests.flow.worker import Worker

SECONDS_MAX = 60.0
ORDER = "order.placed"
MESSAGE = IncomingMessage(b"", receipt=None)


class Thread:
    """Holds the thread that judges until ``let_go``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.judged: list[str] = []
        self._may_go_on = threading.Event()
        monkeypatch.setattr(OwnEventType, "judge", self._judge)

    def _judge(self, body: bytes) -> None:
        assert self._may_go_on.wait(SECONDS_MAX)
        self.judged.append(json.loads(body)["id"])

    def let_go(self) -> None:
        self._may_go_on.set()


@pytest.fixture
def thread(monkeypatch: pytest.MonkeyPatch) -> Thread:
    return Thread(monkeypatch)


def ids(worker: Worker) -> set[str]:
    """The events that are recorded."""
    return {event_id for _, event_id in worker.database.events}


def costly_body(number: int) -> bytes:
    return body_of(id=f"costly_{number}", type=ORDER, data={"a": 1})


async def test_nobody_waits_for_an_event_that_takes_long_to_judge(thread: Thread) -> None:
    async with Worker(delivers=False) as worker:
        await worker.administration.create_organization("org_2")
        await worker.administration.register_event_type("org_1", ORDER, DOUBLING)
        worker.source.publish(costly_body(1))
        worker.source.publish(body_of(id="evt_of_the_same"))
        worker.source.publish(body_of(id="evt_of_another", organization_id="org_2"))
        worker.start_intake()
        await worker.source.until_acked(2)
        assert ids(worker) == {"evt_of_the_same", "evt_of_another"}
        thread.let_go()
        await worker.source.until_acked(3)
        assert thread.judged == ["costly_1"]
        assert "costly_1" in ids(worker)


async def test_beyond_so_many_they_are_parked_and_the_others_go_on(thread: Thread) -> None:
    async with Worker(delivers=False) as worker:
        await worker.administration.register_event_type("org_1", ORDER, DOUBLING)
        for number in range(HELD_OF_ONE_MAX + 3):
            worker.source.publish(costly_body(number))
        worker.source.publish(body_of(id="evt_1"))
        worker.start_intake()
        await worker.source.until_acked(4)
        assert ids(worker) == {"evt_1"}
        thread.let_go()
        await worker.source.until_acked(HELD_OF_ONE_MAX + 4)
        assert [reason for _, reason, _ in worker.source.parked] == [ParkReason.COSTLY] * 3
        assert worker.source.parked[0][2].startswith("data: takes long to validate")
        assert len(ids(worker)) == HELD_OF_ONE_MAX + 1
        worker.source.publish(costly_body(100))
        await worker.source.until_acked(HELD_OF_ONE_MAX + 5)
        assert len(worker.source.parked) == 3, "there is room again"


async def test_cheap_events_among_costly_ones_of_their_type_are_never_parked(thread: Thread) -> None:
    async with Worker(delivers=False) as worker:
        await worker.administration.register_event_type("org_1", ORDER, DOUBLING)
        worker.source.publish(costly_body(0))
        for number in range(100):
            worker.source.publish(body_of(id=f"evt_{number}", type=ORDER, data={"b": number}))
        worker.start_intake()
        thread.let_go()
        await worker.source.until_acked(101)
        assert worker.source.parked == []
        assert len(ids(worker)) == 101


async def test_a_copy_of_one_that_waits_takes_its_place() -> None:
    costly = Costly(Turns())
    (event,) = _events("a", 1)
    lost, copy = IncomingMessage(b"", receipt="lost"), IncomingMessage(b"", receipt="copy")
    assert costly.set_aside((lost, event)) is None
    assert costly.set_aside((copy, event)) is None
    assert await costly.next_batch() == [(copy, event)]
    assert costly._held.total() == 1


async def test_intake_stops_without_waiting_for_them(thread: Thread) -> None:
    async with Worker(delivers=False) as worker:
        await worker.administration.register_event_type("org_1", ORDER, DOUBLING)
        for number in range(2 * TURN_MAX):
            worker.source.publish(costly_body(number))
        worker.source.publish(body_of(id="evt_1"))
        intake = asyncio.create_task(worker.intake.run(worker.source))
        await worker.source.until_acked(1)
        await worker.source.stop()
        thread.let_go()
        async with asyncio.timeout(SECONDS_MAX):
            await intake
        assert len(ids(worker)) == 1 + TURN_MAX, "the turn that had begun; the broker has the others"


async def test_organizations_take_turns() -> None:
    costly = Costly(Turns())
    for event in (*_events("a", 10), *_events("b", 1)):
        assert costly.set_aside((MESSAGE, event)) is None
    served = [[event.organization_id for _, event in await costly.next_batch()] for _ in range(4)]
    assert served == [["a"] * TURN_MAX, ["b"], ["a"] * TURN_MAX, ["a"] * (10 - 2 * TURN_MAX)]


async def test_all_organizations_together_have_a_bound() -> None:
    costly = Costly(Turns())
    events = [event for number in range(HELD_MAX) for event in _events(f"org_{number}", 1)]
    assert {costly.set_aside((MESSAGE, each)) for each in events} == {None}
    refused = costly.set_aside((MESSAGE, event_of(organization_id="one_more")))
    assert refused is not None
    assert refused.reason is ParkReason.COSTLY


async def test_a_type_known_to_be_costly_is_not_tried_on_the_loop_until_it_is_cheap_again() -> None:
    costly, own_type = Costly(Turns()), OwnEventType(ORDER, DOUBLING)
    large, small = event_of(type=ORDER, data={"a": 1}), event_of(type=ORDER, data={})
    cheap, smaller = event_of(type=ORDER, data={"b": 1}), event_of(type=ORDER, data={})
    assert len(large.body) == len(cheap.body) > len(small.body)
    for event in (large, cheap):
        with pytest.raises(TooMuchWorkError):
            await costly.judge_at_once(own_type, event)
    assert await costly.judge_at_once(own_type, smaller) == (), "no event so small took long"
    assert await costly.judge_in_thread(own_type, cheap) == ()
    assert await costly.judge_at_once(own_type, cheap) == ()


async def test_only_so_many_types_are_known_to_be_costly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "TYPES_KNOWN_MAX", 2)
    costly = Costly(Turns())
    for number in range(3):
        event = event_of(type=f"order.n{number}", data={"a": 1})
        with pytest.raises(TooMuchWorkError):
            await costly.judge_at_once(OwnEventType(f"order.n{number}", DOUBLING), event)
    assert len(costly._bytes_of) == 2 < TYPES_KNOWN_MAX


def _events(organization_id: str, count: int) -> list[Event]:
    return [event_of(id=f"evt_{number}", organization_id=organization_id) for number in range(count)]
