"""Every order in which two workers, two deliveries and their misfortunes can meet: nothing that is promised breaks."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.delivery import FINAL_STATES, State, Step
from service.core.deliveries.settlement import Settled, conclude_loss
from tests.core.model import WORKERS, Broken, Held, Life, Model, Move, Row, has_last_chance_under_way

MANY = 1000  # attempts that never run out
FEW = 2


@dataclass(slots=True)
class Lives:
    """Every life of one delivery, by number, and how each can go on: ``moves`` with the number of what comes of it."""

    numbers: dict[Life, int] = field(default_factory=dict)
    moves: list[list[tuple[Move, int]]] = field(default_factory=list)
    crashes: list[tuple[int, ...]] = field(default_factory=list)

    def number(self, life: Life) -> int:
        return self.numbers.setdefault(life, len(self.numbers))


def explore(model: Model) -> Lives:
    """Visit all that can become of one delivery. Raises ``Broken`` with the way that led there."""
    lives = Lives()
    came_by: dict[Life, tuple[Life, str]] = {}
    waiting = deque([Life()])
    lives.number(Life())
    while waiting:
        life = waiting.popleft()
        try:
            found = list(model.moves(life))
        except (Broken, KeyError) as error:
            raise Broken(f"{error}: {' / '.join((*_way(life, came_by), str(life)))}") from error
        deaths = [Move(f"worker {worker} dies", model.crash(life, worker)) for worker in WORKERS]
        for move in (*found, *deaths):
            if move.after not in lives.numbers:
                came_by[move.after] = (life, move.name)
                waiting.append(move.after)
            lives.number(move.after)
        lives.moves.append([(move, lives.number(move.after)) for move in found])
        lives.crashes.append(tuple(lives.number(move.after) for move in deaths))
    return lives


def _way(life: Life, came_by: Mapping[Life, tuple[Life, str]]) -> Sequence[str]:
    way: list[str] = []
    while life in came_by:
        life, name = came_by[life]
        way.append(name)
    return way[::-1]


def steps_to_the_end(lives: Lives) -> Sequence[int]:
    """For each life the least number of moves to its end, with workers that go on; raises ``Broken`` if there is none."""
    befores: list[list[int]] = [[] for _ in lives.moves]
    for number, moves in enumerate(lives.moves):
        for _, after in moves:
            befores[after].append(number)
    steps = [-1] * len(lives.moves)
    waiting = deque(number for life, number in lives.numbers.items() if life.row.state in FINAL_STATES)
    for number in waiting:
        steps[number] = 0
    while waiting:
        after = waiting.popleft()
        for number in befores[after]:
            if steps[number] < 0:
                steps[number] = steps[after] + 1
                waiting.append(number)
    if stuck := [life for life, number in lives.numbers.items() if steps[number] < 0]:
        raise Broken(f"cannot end: {stuck[0]}")
    return steps


def explore_two(lives: Lives) -> int:
    """Visit every pair of lives that two deliveries can lead beside each other; returns how many there are."""
    steps = steps_to_the_end(lives)
    moves = [[(after, move.place) for move, after in found] for found in lives.moves]
    busy = [tuple(has_last_chance_under_way(life, worker) for worker in WORKERS) for life in lives.numbers]
    count = len(moves)
    seen = bytearray(count * count)
    waiting = [0]
    seen[0] = 1
    found = 1
    while waiting:
        mine, theirs = divmod(waiting.pop(), count)
        if any(map(all, zip(busy[mine], busy[theirs], strict=True))):
            raise Broken("two last chances under way in one worker: its death would end both")
        is_stuck = steps[mine] > 0 or steps[theirs] > 0
        afters = [crash * count + also for crash, also in zip(lives.crashes[mine], lives.crashes[theirs], strict=True)]
        for one, other, is_first in ((mine, theirs, True), (theirs, mine, False)):
            for after, place in moves[one]:
                if place is None or not busy[other][place]:
                    is_stuck = is_stuck and steps[after] >= steps[one]
                    afters.append(after * count + other if is_first else other * count + after)
        if is_stuck:
            raise Broken("neither of the two can come nearer to its end")
        for pair in afters:
            same = min(pair, pair // count + pair % count * count)  # the same two, the other way round
            if not seen[same]:
                seen[same] = 1
                found += 1
                waiting.append(same)
    return found


def test_two_workers_and_two_deliveries_break_no_promise_in_any_order() -> None:
    lives = explore(Model(MANY))
    assert {life.row.state for life in lives.numbers} == set(State)
    assert explore_two(lives) > len(lives.numbers) ** 2 // 3, "the two hardly keep each other from anything"


def test_nor_do_they_when_attempts_run_out() -> None:
    lives = explore(Model(FEW))
    steps_to_the_end(lives)
    assert max(life.row.attempts_made for life in lives.numbers) == FEW - 1


# --------------------------------------------------------------------------- each guard is needed: without it, it breaks


class WithoutToken(Model):
    def may_move(self, row: Row, held: Held, step: Step) -> bool:
        return row.state is State.LEASED or super().may_move(row, held, step)


class WithoutFinality(Model):
    def may_move(self, row: Row, held: Held, step: Step) -> bool:
        return step is Step.ACCEPT or super().may_move(row, held, step)


class WithoutFacts(Model):
    def may_move(self, row: Row, held: Held, step: Step) -> bool:  # noqa: ARG002
        return row.state is State.LEASED and held.is_latest


class WithoutClock(Model):
    def may_rescue(self, row: Row) -> bool:
        return row.state is State.LEASED


class WithoutRescue(Model):
    def may_rescue(self, row: Row) -> bool:  # noqa: ARG002
        return False


class BeginsWithoutToken(Model):
    def may_begin(self, row: Row, held: Held) -> bool:  # noqa: ARG002
        return row.state is State.LEASED


class WithFlag(Model):
    """Writes a flag instead of the claim's number, and does not reset it."""

    def has_begun_after_claim(self, row: Row) -> bool:
        return row.is_suspect


class ForgetsInRescue(Model):
    """A rescuer that dies takes with it what was known of the POST."""

    def has_begun_after_rescue(self, row: Row) -> bool:  # noqa: ARG002
        return False


class CountsEveryLoss(Model):
    def conclude_loss(self, started: AttemptStarted, held: Held) -> Settled:  # noqa: ARG002
        return conclude_loss(started, self.schedule, 0.0, has_begun=True)


class WithoutPlace(Model):
    def needs_place(self, held: Held) -> bool:  # noqa: ARG002
        return False


@pytest.mark.parametrize(
    ("mutant", "broken"),
    [
        (WithoutToken, "moved by someone who does not hold it"),
        (WithoutFinality, "a final state moved"),
        (WithoutFacts, "a 2xx that was settled is no delivery"),
        (WithoutClock, "two workers hold it"),
        (WithoutRescue, "cannot end"),
        (BeginsWithoutToken, "an attempt that never began was counted"),
        (WithFlag, "an attempt that never began was counted"),
        (ForgetsInRescue, "a suspect's POST was lost with its worker, and that was forgotten"),
        (CountsEveryLoss, "an attempt that never began was counted"),
        (WithoutPlace, "two last chances under way in one worker"),
    ],
)
def test_without_a_guard_a_promise_breaks(mutant: type[Model], broken: str) -> None:
    with pytest.raises(Broken, match=broken):
        explore_two(explore(mutant(MANY)))
