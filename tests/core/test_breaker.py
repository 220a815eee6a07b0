"""The breaker, step by step, and whatever happens."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.endpoints.gates.breaker import RAMP_MAX, RAMP_SECONDS, Breaker, BreakerLimits, BreakerState
from tests.fakes.clock import START

LIMITS = BreakerLimits(failures=3, open_seconds=60, open_seconds_max=900)
FAIL, REFUSE, SUCCEED, WAIT = "outage", "refusal", "success", "a minute"
CLOSED, OPEN, RAMP = BreakerState


def after(*steps: str, limits: BreakerLimits = LIMITS) -> tuple[Breaker | None, datetime]:
    """The breaker after these steps, and what time it is."""
    breaker: Breaker | None = None
    at = START
    for step in steps:
        breaker, at = walk(breaker, at, step, limits)
    return breaker, at


def walk(breaker: Breaker | None, at: datetime, step: str, limits: BreakerLimits) -> tuple[Breaker | None, datetime]:
    match step:
        case "outage":
            return (breaker or Breaker()).failed(at, limits), at
        case "refusal":
            return (breaker or Breaker()).failed(at, limits, is_outage=False), at
        case "success":
            return breaker.succeeded(at) if breaker is not None else None, at
        case _:
            return breaker, at + timedelta(seconds=60)


def test_failures_are_counted_from_the_first_and_a_success_ends_them() -> None:
    first = Breaker().failed(START)
    later = first.failed(START + timedelta(days=5), is_outage=False)
    assert (first.failing_since, first.attempts_failed) == (START, 1)
    assert (later.failing_since, later.attempts_failed) == (START, 2)
    assert later.succeeded(START) is None


@pytest.mark.parametrize(
    ("steps", "state", "in_flight_max"),
    [
        ((FAIL, FAIL), CLOSED, None),
        ((FAIL, FAIL, FAIL), OPEN, 1),
        ((FAIL, FAIL, REFUSE, FAIL, FAIL), CLOSED, None),  # it answers, so it is there
        ((REFUSE,) * 9, CLOSED, None),
        ((FAIL,) * 3 + (FAIL,) * 9, OPEN, 1),  # these were in flight when it opened
        ((FAIL,) * 3 + (WAIT, REFUSE), OPEN, 1),  # half open still: the next one is tried
        ((FAIL,) * 3 + (WAIT, SUCCEED), RAMP, 2),
        ((FAIL,) * 3 + (SUCCEED,), RAMP, 2),  # a reply that took its time
        ((FAIL,) * 3 + (WAIT, SUCCEED, SUCCEED, SUCCEED), RAMP, 4),
        ((FAIL,) * 3 + (WAIT, SUCCEED, SUCCEED, SUCCEED, FAIL), RAMP, 2),
        ((FAIL,) * 3 + (WAIT, SUCCEED, SUCCEED, SUCCEED, REFUSE), RAMP, 4),
        ((FAIL,) * 3 + (WAIT, SUCCEED, FAIL, FAIL), OPEN, 1),
    ],
)
def test_where_it_stands(steps: tuple[str, ...], state: BreakerState, in_flight_max: int | None) -> None:
    breaker, _ = after(*steps)
    assert breaker is not None
    assert (breaker.state, breaker.in_flight_max) == (state, in_flight_max)


@pytest.mark.parametrize(
    "steps",
    [
        (FAIL, SUCCEED),
        (FAIL,) * 3 + (WAIT,) + (SUCCEED,) * RAMP_MAX,
        (FAIL,) * 3 + (WAIT, SUCCEED, WAIT, SUCCEED),  # an endpoint with little to do has no long ramp
    ],
)
def test_it_is_forgotten(steps: tuple[str, ...]) -> None:
    assert after(*steps)[0] is None
    assert RAMP_SECONDS == 60


def test_it_stays_open_twice_as_long_each_time_up_to_the_most_and_anew_after_it_has_closed() -> None:
    breaker, at = after(FAIL, FAIL, FAIL)
    seconds = []
    for _ in range(6):
        assert breaker is not None
        assert breaker.changes_at is not None
        seconds.append((breaker.changes_at - at).total_seconds())
        at = breaker.changes_at
        assert breaker.is_half_open(at)
        breaker = breaker.failed(at, LIMITS)
    assert seconds == [60, 120, 240, 480, 900, 900]
    assert BreakerLimits(open_seconds=3600).seconds(9) == 3600
    again, at = after(*(FAIL,) * 3, WAIT, *(SUCCEED,) * RAMP_MAX, *(FAIL,) * 3)
    assert again is not None
    assert again.changes_at == at + timedelta(seconds=60)


def test_zero_failures_turn_it_off_also_while_it_is_open() -> None:
    never = BreakerLimits(failures=0)
    told, _ = after(*(FAIL,) * 50, limits=never)
    assert told is not None
    assert (told.state, told.attempts_failed) == (CLOSED, 50)
    shut, at = after(FAIL, FAIL, FAIL)
    assert shut is not None
    assert shut.failed(at, never).state is CLOSED


STEPS = st.lists(st.sampled_from([FAIL, REFUSE, SUCCEED, WAIT]), max_size=60)


@given(STEPS)
def test_whatever_happens_its_bounds_hold(steps: list[str]) -> None:
    breaker: Breaker | None = None
    at = START
    for step in steps:
        before = breaker
        breaker, at = walk(breaker, at, step, LIMITS)
        if breaker is None:
            continue
        assert (breaker.failing_since is None) == (breaker.attempts_failed == 0)
        assert (breaker.state is CLOSED) == (breaker.in_flight_max is None) == (breaker.changes_at is None)
        if breaker.state is CLOSED:
            assert breaker.failures_in_a_row < LIMITS.failures
        else:
            assert breaker.in_flight_max is not None
            assert 1 <= breaker.in_flight_max <= RAMP_MAX
        if step == FAIL and before is not None and before.in_flight_max is not None:
            assert breaker.in_flight_max is not None
            assert breaker.in_flight_max <= before.in_flight_max, "a failure never lets more through"
        if step == SUCCEED:
            assert breaker.failing_since is None
            assert breaker.state is RAMP, "one success ends the pause"
