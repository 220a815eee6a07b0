"""Whatever strangers write is read, or refused with the one error that is declared, in steps that follow its size.

``python -m tests.fuzz.with_atheris TARGET`` looks for longer; what it finds stays in the corpus, and is tried here.
"""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import CORPUS, TARGETS, Target, kept_inputs

KEPT = sorted(path.name for path in CORPUS.iterdir())
GROWN = [(name, number) for name, target in TARGETS.items() for number in range(len(target.grown))]
SIZE = 1_000
TIMES = 4
SPARE = 1.25
"""Beyond four times the steps for four times the size: sorting, and tables that grow. A square would be sixteen."""
FIXED_STEPS = 500


@pytest.mark.parametrize("file", KEPT)
def test_what_was_kept_raises_nothing_that_is_not_declared(file: str) -> None:
    TARGETS[file.partition(".")[0]].try_on((CORPUS / file).read_bytes())


def test_every_target_has_seeds_and_every_seed_a_target() -> None:
    assert {file.partition(".")[0] for file in KEPT} == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_raise_what_is_not_declared(name: str) -> None:
    target = TARGETS[name]
    seeds = [path.read_bytes() for path in kept_inputs(name)]

    @settings(max_examples=150)
    @given(st.one_of(st.binary(max_size=300), _edited(seeds)))
    def read(data: bytes) -> None:
        target.try_on(data)

    read()


def _edited(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """A seed, with a piece of it replaced by some bytes or by a piece of another one."""

    @st.composite
    def edit(draw: st.DrawFn) -> bytes:
        seed, other = draw(st.sampled_from(seeds)), draw(st.sampled_from(seeds))
        start, begin = draw(st.integers(0, len(seed))), draw(st.integers(0, len(other)))
        end, stop = draw(st.integers(start, len(seed))), draw(st.integers(begin, len(other)))
        return seed[:start] + draw(st.one_of(st.binary(max_size=20), st.just(other[begin:stop]))) + seed[end:]

    return edit()


@pytest.mark.parametrize(("name", "number"), GROWN)
def test_steps_grow_as_the_input_does(name: str, number: int) -> None:
    """Counted, not timed: lines of Python, and calls of whatever is written in C."""
    target, grown = TARGETS[name], TARGETS[name].grown[number]
    target.try_on(grown(SIZE))  # whatever is made once is made
    small, large = (_steps(target, grown(size)) for size in (SIZE, TIMES * SIZE))
    assert large <= SPARE * TIMES * small + FIXED_STEPS


def test_a_count_of_steps_tells_a_line_from_a_square() -> None:
    def grows(read: Callable[[bytes], object]) -> bool:
        small, large = (_steps(Target(read, (), ()), bytes(size)) for size in (100, TIMES * 100))
        return large > SPARE * TIMES * small + FIXED_STEPS

    def compare_all(data: bytes) -> None:
        for each in data:
            for other in data:
                assert each == other

    def look_at_all(data: bytes) -> None:
        for each in data:
            assert each == 0

    assert grows(compare_all)
    assert not grows(look_at_all)


def _steps(target: Target, data: bytes) -> int:
    count = 0

    def line(_: Any, __: str, ___: Any) -> Any:
        nonlocal count
        count += 1
        return line

    def call(_: Any, event: str, __: Any) -> None:
        nonlocal count
        count += event == "c_call"

    before_trace, before_profile = sys.gettrace(), sys.getprofile()
    sys.settrace(line)
    sys.setprofile(call)
    try:
        target.try_on(data)
    finally:
        sys.setprofile(before_profile)
        sys.settrace(before_trace)
    return count
