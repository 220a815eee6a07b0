"""What a limited endpoint may be sent: no window has more than its rate and the burst, and nothing is lost for ever."""

from math import floor

from hypothesis import example, given
from hypothesis import strategies as st

from service.core.deliveries.allowance import BURST_SECONDS, Allowance, grant_of

rates = st.floats(0.001, 1000)
steps = st.lists(st.tuples(st.floats(0, 5) | st.floats(0, 0.01), st.integers(1, 300)), min_size=1, max_size=60)


@given(rate=rates, steps=steps)
def test_no_window_has_more_than_its_rate_and_the_burst(rate: float, steps: list[tuple[float, int]]) -> None:
    allowance, at = Allowance(rate, None), 0.0
    granted: list[tuple[float, int]] = []
    for seconds, wanted in steps:
        at += seconds
        allowance = allowance.grown(seconds)
        most = allowance.most(wanted)
        allowance = allowance.taken(most)
        assert 0 <= most <= wanted
        assert allowance.requests >= 0
        granted.append((at, most))
    for index, (since, _) in enumerate(granted):
        for last in range(index, len(granted)):
            count = sum(most for _, most in granted[index : last + 1])
            assert count <= rate * (granted[last][0] - since) + 1 + rate * BURST_SECONDS + 1e-6 * (count + 1)


@given(rate=rates, wanted=st.integers(1, 300))
@example(rate=3.0, wanted=1)
def test_who_comes_when_it_opens_is_let_through(rate: float, wanted: int) -> None:
    allowance = Allowance(rate, None).grown(1e9)
    used = allowance.taken(allowance.most(10_000))
    assert used.most(wanted) == 0
    assert used.opens_in_seconds > 0
    assert used.grown(used.opens_in_seconds).most(wanted) >= 1
    assert used.grown(used.opens_in_seconds - 0.002).most(wanted) <= floor(rate * 0.25) + 1


@given(rate=rates, looks=st.lists(st.floats(0.001, BURST_SECONDS), min_size=20, max_size=80))
def test_who_looks_again_within_the_burst_misses_nothing(rate: float, looks: list[float]) -> None:
    """The service looks again when it opens; where it is late, by less than the burst's time, nothing is lost."""
    allowance, count = Allowance(rate, None, requests=0.0), 0
    for late_seconds in looks:
        allowance = allowance.grown(late_seconds)
        most = allowance.most(10_000)
        allowance, count = allowance.taken(most), count + most
    assert count >= floor(rate * sum(looks) - 1e-6 * (1 + rate * sum(looks)))


@given(requests=st.floats(0, 2), seconds=st.floats(-3600, 0))
def test_a_clock_that_goes_back_grants_nothing(requests: float, seconds: float) -> None:
    before = Allowance(4.0, None, requests)
    assert before.grown(seconds).requests == min(requests, 2.0)


@given(in_flight_max=st.integers(1, 1000), in_flight=st.integers(0, 1200), wanted=st.integers(0, 1000))
def test_never_more_in_flight_than_there_are_places(in_flight_max: int, in_flight: int, wanted: int) -> None:
    allowance = Allowance(None, in_flight_max, in_flight=in_flight)
    most = allowance.grown(5).most(wanted)
    assert most == max(0, min(wanted, in_flight_max - in_flight))
    assert allowance.opens_in_seconds == 0.0


def test_both_limits_hold_together() -> None:
    assert Allowance(8.0, 5, requests=3.0, in_flight=1).most(10) == 3
    assert Allowance(8.0, 5, requests=3.0, in_flight=4).most(10) == 1
    assert Allowance(8.0, 5, requests=0.5, in_flight=0).most(10) == 0


def test_a_grant_says_when_to_come_again() -> None:
    left = Allowance(4.0, None, requests=0.5)
    assert grant_of(left, 3, 3).opens_in_seconds == 0.125
    assert grant_of(left, 3, 2).opens_in_seconds is None, "nothing more was due"
    assert grant_of(Allowance(4.0, None, requests=1.5), 3, 3).opens_in_seconds == 0
    assert grant_of(Allowance(None, 1, in_flight=1), 1, 1).opens_in_seconds is None, "a place will be free"
    assert [grant_of(each, 1, 1).must_begin_promptly for each in (left, Allowance(None, 1))] == [True, False]
