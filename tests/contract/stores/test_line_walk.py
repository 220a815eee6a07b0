"""Order by key in any order of events, claims, answers, losses and replays: by chance on PostgreSQL, and by machine."""

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from service.core.deliveries.line import NEXT, Head, Turn, Wait, whose_turn
from service.core.deliveries.request import Fault, Reply
from service.core.reason import Reason
from tests.contract.stores.line_walk import LineWalk
from tests.contract.stores.rig import Bench, InMemory
from tests.fakes import database
from tests.flow.road import run

pytestmark = pytest.mark.clock

LINES = ("m", "n")
REPLIES: tuple[Reply | Fault | int | None, ...] = (200, 200, 200, 500, 503, None, Fault(Reason.INTERNAL, 0))
STEPS = 40


@pytest.mark.parametrize("seed", range(4))
async def test_nobody_overtakes_whatever_happens(bench: Bench, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - the same walk every time
    walk = LineWalk(bench)
    await walk.begin()
    for _ in range(STEPS):
        steps: list[Coroutine[Any, Any, None]] = [
            walk.record([(random.choice(LINES), random.randint(1, 8)) for _ in range(random.randint(1, 3))]),
            walk.claim(random.randint(1, 3), random.randint(1, 4)),
            walk.claim(random.randint(1, 3), random.randint(1, 4)),
            walk.settle(random.randrange(9), random.choice(REPLIES)),
            walk.settle(random.randrange(9), random.choice(REPLIES)),
            walk.tick(random.choice([6, 20, 70, 200])),
            walk.replay(random.randrange(9)),
            *([walk.lose()] if random.random() < 0.3 else []),
        ]
        chosen = random.choice(steps)
        for step in steps:
            if step is not chosen:
                step.close()
        await chosen
    await walk.finish()


WALK = settings(max_examples=60, stateful_step_count=40, deadline=None)
# No shrinking: it is enough that the walk notices.
HUNT = settings(
    WALK, max_examples=1_000, derandomize=True, database=None, phases=[Phase.generate], report_multiple_bugs=False
)


class Lines(RuleBasedStateMachine):
    """The same over the fake, as Hypothesis likes it."""

    def __init__(self) -> None:
        super().__init__()
        in_memory: Any = InMemory()
        self.walk = LineWalk(Bench(in_memory))
        run(self.walk.bench.administration.create_organization("org_1"))
        run(self.walk.begin())

    # None happens at the instant of a replay, after which it would come in line.
    @rule(events=st.lists(st.tuples(st.sampled_from(LINES), st.integers(1, 8)), min_size=1, max_size=3))
    def record(self, events: list[tuple[str, int]]) -> None:
        run(self.walk.record(events))

    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        run(self.walk.claim_alone(limit))

    @rule(number=st.integers(0, 8), reply=st.sampled_from(REPLIES))
    def settle(self, number: int, reply: Reply | Fault | int | None) -> None:
        run(self.walk.settle(number, reply))

    @rule()
    def lose(self) -> None:
        run(self.walk.lose())

    @rule(seconds=st.sampled_from([6, 20, 70, 200]))
    def tick(self, seconds: int) -> None:
        run(self.walk.tick(seconds))

    @rule(number=st.integers(0, 8))
    def replay(self, number: int) -> None:
        run(self.walk.replay(number))

    def teardown(self) -> None:
        run(self.walk.finish())


def test_nobody_overtakes_in_any_order_of_steps() -> None:
    run_state_machine_as_test(Lines, settings=WALK)


# --------------------------------------------------------------------------- mutants: the machine must catch each


def _not_leased(head: Head | None, wait_seconds: float) -> Turn:
    """Lets the next go while the head is being sent."""
    return NEXT if head is not None and head.is_leased else whose_turn(head, wait_seconds)


def _impatient(head: Head | None, _: float) -> Turn:
    """Lets a head that failed give way at once."""
    return whose_turn(head, 0.0)


def _patient(head: Head | None, _: float) -> Turn:
    """Takes a head that has ended for one that is under way."""
    return whose_turn(head, 0.0) if head is None or head.is_open else Wait()


@pytest.mark.parametrize("mutant", [_not_leased, _impatient, _patient])
def test_the_machine_notices(mutant: Callable[..., Turn], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "whose_turn", mutant)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Lines, settings=HUNT)
