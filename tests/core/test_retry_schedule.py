"""The published delays, and what no configuration may do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.endpoints.retry_schedule import DELAYS_MAX, PRESETS, STANDARD, RetrySchedule, read_retry, schedule_of

HOUR = 3600


def test_the_published_delays() -> None:
    delays = [STANDARD.delay_seconds(number) for number in range(1, 13)]
    assert delays == [5, 15, 45, 135, 405, 1215, 3645, HOUR * 3 + 135, HOUR * 9 + 405, 86_400, 86_400, None]


def test_the_delays_add_up_to_what_is_published() -> None:
    total = sum(STANDARD.delay_seconds(number) or 0 for number in range(1, 12))
    assert int(total // 60) == 61 * 60 + 40
    assert total < STANDARD.age_max_seconds


def test_a_preset_lists_its_delays() -> None:
    schedule = PRESETS["politicalcomms"]
    assert [schedule.delay_seconds(number) for number in range(1, 6)] == [4, 16, 64, None, None]
    assert schedule.attempts_max == 4
    assert PRESETS["standard-webhooks"] is STANDARD


@pytest.mark.parametrize("attempts_made", [1_000, 10_000, 10**9])
def test_no_number_of_attempts_overflows(attempts_made: int) -> None:
    assert RetrySchedule(attempts_max=10**10).delay_seconds(attempts_made) == 86_400


@given(st.floats(0.001, 1e6), st.floats(1, 1e4), st.floats(0.001, 1e6), st.integers(1, 100), st.integers(1, 200))
def test_a_delay_never_shrinks_and_never_passes_the_cap(
    base: float, factor: float, cap: float, attempts_max: int, attempts_made: int
) -> None:
    schedule = RetrySchedule(base, factor, cap, attempts_max)
    delay, following = schedule.delay_seconds(attempts_made), schedule.delay_seconds(attempts_made + 1)
    assert (delay is None) == (attempts_made >= attempts_max)
    assert delay is None or 0 < delay <= cap
    if delay is not None and following is not None:
        assert following >= delay


@given(st.floats(0, 1e6), st.floats(-1, 1))
def test_jitter_stays_within_its_fraction(delay: float, draw: float) -> None:
    slack = 1e-6 * (1 + delay)
    assert 0.8 * delay - slack <= STANDARD.spread(delay, draw) <= 1.2 * delay + slack
    assert delay - slack <= STANDARD.spread(delay, draw, upward=True) <= 1.2 * delay + slack


# --------------------------------------------------------------------------- what an endpoint asks for

SERVICE = RetrySchedule(attempts_max=3, age_max_seconds=1000.0, jitter=0.1)


def test_a_list_of_delays_replaces_the_formula_and_keeps_the_services_bounds() -> None:
    schedule = read_retry([1, 2.5, 86_400], SERVICE)
    assert isinstance(schedule, RetrySchedule)
    assert [schedule.delay_seconds(number) for number in range(1, 5)] == [1, 2.5, 86_400, None]
    assert (schedule.attempts_max, schedule.age_max_seconds, schedule.jitter) == (4, 1000.0, 0.1)


def test_a_preset_is_taken_by_name_and_grows_no_older_than_the_service_lets_it() -> None:
    schedule = read_retry("politicalcomms", SERVICE)
    assert isinstance(schedule, RetrySchedule)
    assert [schedule.delay_seconds(number) for number in range(1, 5)] == [4, 16, 64, None]
    assert schedule.age_max_seconds == 1000.0
    assert read_retry("standard-webhooks", STANDARD) == STANDARD


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", "Standard-Webhooks", "fast", 5, True, {}, {"delays": [1]}, [], [1] * (DELAYS_MAX + 1), [0], [-1]),
        *([0.0001] * DELAYS_MAX, [0.999], [4, 0.5]),
        *([86_401], [True], ["5"], [None], [[1]], [float("inf")], [float("nan")], [10**400], [1, 0]),
    ],
)
def test_anything_else_is_refused_in_a_sentence(value: object) -> None:
    problem = read_retry(value, SERVICE)
    assert isinstance(problem, str)
    assert all(part in problem for part in (*PRESETS, "1 to 20", "1 to 86400"))


def test_an_endpoints_own_schedule_goes_before_the_services_and_what_cannot_be_read_is_none() -> None:
    service = RetrySchedule(attempts_max=3, age_max_seconds=30)
    own = schedule_of([4, 16, 64], service)
    assert own is not None
    assert list(own.planned_delays_seconds()) == [4, 16], "the third would come when the event is too old"
    assert schedule_of(None, service) is service
    assert list(service.planned_delays_seconds()) == [5, 15]
    assert schedule_of("nonsense", service) is None
