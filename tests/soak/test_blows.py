"""Which repeated deliveries a soak lets pass, and for which it fails."""

from random import Random
from typing import Any

import pytest

from bench.soak.blows import AFTER_SECONDS, BEFORE_SECONDS, Blow, Repeats, copies
from bench.soak.faults import KINDS, deck
from bench.soak.memory import slope
from tests.end_to_end.oracle import Line

PAIR = ("evt_1", "/ok/all")
BEGAN, LIFTED, READY = 100.0, 110.0, 112.0


def accepted(*times: float, status: int = 204) -> list[Line]:
    return [Line(*PAIR, None, "d1", "1", status, at=at) for at in times]


def blow(repeats: Repeats, **fields: Any) -> Blow:
    return Blow(1, "a fault", repeats, BEGAN, lifted_at=LIFTED, ready_at=READY, **fields)


def explained(lines: list[Line], *blows: Blow) -> list[bool]:
    return [copy.blow is not None for copy in copies(lines, blows)]


@pytest.mark.parametrize(
    ("at", "is_near"),
    [
        (BEGAN - BEFORE_SECONDS - 0.1, False),
        (BEGAN - BEFORE_SECONDS + 0.1, True),
        (LIFTED, True),
        (READY + AFTER_SECONDS - 0.1, True),
        (READY + AFTER_SECONDS + 0.1, False),
    ],
)
def test_a_copy_is_explained_by_a_fault_during_its_first_request(at: float, *, is_near: bool) -> None:
    assert explained(accepted(at, 130.0), blow(Repeats.ANYTHING)) == [is_near]


def test_nothing_explains_a_copy_where_nothing_struck() -> None:
    assert explained(accepted(10.0, 11.0)) == [False]


def test_what_a_lost_worker_held_may_come_again_and_nothing_else() -> None:
    assert explained(accepted(99.0, 120.0), blow(Repeats.HELD, held=frozenset({PAIR}))) == [True]
    assert explained(accepted(99.0, 120.0), blow(Repeats.HELD, held=frozenset({("evt_2", "/ok/all")}))) == [False]


def test_some_faults_explain_no_copy() -> None:
    assert explained(accepted(99.0, 120.0), blow(Repeats.NOTHING)) == [False]


def test_a_fault_explains_no_copy_that_came_before_it() -> None:
    assert explained(accepted(99.0, 99.5), blow(Repeats.ANYTHING)) == [False]


def test_each_further_copy_needs_a_fault_of_its_own() -> None:
    assert explained(accepted(99.0, 120.0, 140.0), blow(Repeats.ANYTHING)) == [True, False]


def test_a_request_that_was_refused_makes_no_copy() -> None:
    assert not copies([*accepted(99.0, status=500), *accepted(120.0)], [])


def test_a_fault_that_names_what_was_held_comes_before_one_that_was_only_near() -> None:
    held, near = blow(Repeats.HELD, held=frozenset({PAIR})), blow(Repeats.ANYTHING)
    (copy,) = copies(accepted(101.0, 120.0), [held, near])
    assert copy.blow is held


def test_every_kind_comes_before_any_comes_again_and_a_seed_repeats_the_order() -> None:
    first, again = (deck(KINDS, Random(7)) for _ in range(2))  # noqa: S311 - no secret
    dealt = [next(first) for _ in range(2 * len(KINDS))]
    assert dealt == [next(again) for _ in range(2 * len(KINDS))]
    names = {kind.name for kind in KINDS}
    assert {kind.name for kind in dealt[: len(KINDS)]} == {kind.name for kind in dealt[len(KINDS) :]} == names


def test_the_slope_of_memory_is_that_of_the_line_through_its_samples() -> None:
    assert slope([(0.0, 100.0), (1.0, 102.0), (2.0, 104.0)]) == pytest.approx(2.0)
    assert slope([(0.0, 100.0)]) == slope([]) == 0.0
