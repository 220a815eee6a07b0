"""Budgets of requests: none lets more pass than it holds and earns, and whoever waits as told finds room."""

from hypothesis import assume, example, given
from hypothesis import strategies as st

from service.core.budget import ROUNDING, Budget

budgets = st.builds(
    Budget, st.just("requests"), st.integers(1, 50) | st.integers(1, 1_000_000_000), st.sampled_from([60, 3_600])
)
walks = st.lists(st.tuples(st.floats(0, 4_000) | st.floats(0, 1), st.integers(1, 80)), min_size=1, max_size=40)
used_shares = st.floats(0, 1)


def taken(budget: Budget, used: float, count: int) -> tuple[float, int]:
    """What is used after so many were asked for at once, and how many passed."""
    passed = 0
    for _ in range(count):
        passed += budget.fits(used)
        used = budget.after_one(used)
    return used, passed


@given(budget=budgets, walk=walks)
def test_no_time_has_more_than_the_budget_and_what_it_earned(budget: Budget, walk: list[tuple[float, int]]) -> None:
    used, at = 0.0, 0.0
    passed: list[tuple[float, int]] = []
    for seconds, count in walk:
        at, used = at + seconds, budget.eased(used, seconds)
        used, got = taken(budget, used, count)
        assert 0 <= used <= budget.requests + ROUNDING
        passed.append((at, got))
    for first, (since, _) in enumerate(passed):
        for last in range(first, len(passed)):
            count = sum(got for _, got in passed[first : last + 1])
            earned = budget.per_second * (passed[last][0] - since)
            assert count <= budget.requests + earned + ROUNDING * (count + 1)


@given(budget=budgets, share=used_shares)
@example(budget=Budget("requests", 9, 3_600), share=1.0)  # 0.0025 a second: 400 s are not quite one, in floats
def test_who_waits_as_long_as_is_told_finds_one_more(budget: Budget, share: float) -> None:
    used = share * budget.requests
    assume(budget.left(used) < budget.requests)
    left, seconds = budget.left(used), budget.more_in_seconds(used)
    assert seconds >= 1
    assert budget.left(budget.eased(used, seconds)) >= left + 1
    assert budget.left(budget.eased(used, seconds - 1.001)) <= left  # and it is not told to wait longer


@given(budget=budgets, share=used_shares)
def test_what_is_left_is_what_passes(budget: Budget, share: float) -> None:
    used = share * budget.requests
    left = budget.left(used)
    assert budget.fits(used) == (left >= 1)
    if left < 100:
        assert taken(budget, used, left + 5)[1] == left
    assert budget.left(0.0) == budget.requests
    assert budget.more_in_seconds(0.0) == 0


@given(budget=budgets, share=used_shares, refused=st.integers(1, 50))
def test_what_is_refused_costs_nothing(budget: Budget, share: float, refused: int) -> None:
    full, _ = taken(budget, float(budget.requests) - min(share, 0.999), 1)
    assert taken(budget, full, refused) == (full, 0)


@given(budget=budgets, share=used_shares, seconds=st.floats(0, 4_000), cut=st.floats(0, 1))
def test_it_eases_by_time_alone_and_not_by_how_often_it_is_looked_at(
    budget: Budget, share: float, seconds: float, cut: float
) -> None:
    used = share * budget.requests
    in_two = budget.eased(budget.eased(used, seconds * cut), seconds * (1 - cut))
    assert abs(in_two - budget.eased(used, seconds)) <= ROUNDING * max(1.0, used)
    assert budget.eased(used, -seconds) == used  # the clock went back
    assert budget.eased(used, budget.window_seconds * (1 + 1e-9)) == 0


def test_a_lowered_limit_holds_at_once() -> None:
    wide, narrow = Budget("requests", 10, 60), Budget("requests", 2, 60)
    used, _ = taken(wide, 0.0, 7)
    assert (narrow.left(used), narrow.fits(used)) == (0, False)
    used = narrow.after_one(used)
    assert used == 2  # full, not overdrawn: what was used beyond it is forgiven
    assert wide.left(used) == 8
