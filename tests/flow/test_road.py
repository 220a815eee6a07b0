"""The invariants hold on every walk along the road, and the walk notices each way of breaking them."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.flow.road import MUTANTS, Road

WALK = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
# No shrinking: it is enough that the walk notices.
HUNT = settings(
    WALK, max_examples=5_000, derandomize=True, database=None, phases=[Phase.generate], report_multiple_bugs=False
)


def test_the_invariants_hold() -> None:
    run_state_machine_as_test(Road, settings=WALK)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_walk_notices(name: str) -> None:
    mutant = type("Mutant", (Road,), MUTANTS[name])
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(mutant, settings=HUNT)
