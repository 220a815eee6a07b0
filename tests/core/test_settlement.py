"""What an outcome means for the delivery."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from service.core.deliveries.delivery import STEPS, Delivery, DeliveryKey, State
from service.core.deliveries.outcome import Accepted, Failed, Gone, Outcome
from service.core.deliveries.settlement import Accept, Bury, Cancel, Retry, Settlement, settle
from service.core.endpoints.retry_schedule import PRESETS, STANDARD
from service.core.reason import Reason
from tests.fakes.clock import START
from tests.fakes.events import new_uid

DELIVERY = Delivery(DeliveryKey(new_uid(), 1), "org_1", "evt_1", "message.sent", b"{}", "ep_1", START)


def _settle(outcome: Outcome, *, after_seconds: float = 0, draw: float = 0.0, **changes: int) -> Settlement:
    delivery = replace(DELIVERY, **changes)
    return settle(outcome, delivery, STANDARD, START + timedelta(seconds=after_seconds), draw)


def _failed(reason: Reason = Reason.HTTP_STATUS, **changes: object) -> Failed:
    return Failed(reason, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("made", [0, 11, 50])
def test_accepted_delivers_and_gone_cancels_however_late(made: int) -> None:
    assert _settle(Accepted(), after_seconds=1e7, attempts_made=made) == Accept()
    assert _settle(Gone(), after_seconds=1e7, attempts_made=made) == Cancel(Reason.GONE)


@pytest.mark.parametrize(("made", "delay"), [(0, 5), (1, 15), (2, 45), (9, 86_400)])
def test_a_failure_waits_as_scheduled(made: int, delay: float) -> None:
    assert _settle(_failed(), attempts_made=made) == Retry(delay, Reason.HTTP_STATUS)


def test_attempts_run_out_after_the_twelfth() -> None:
    assert isinstance(_settle(_failed(), attempts_made=10), Retry)
    assert _settle(_failed(), attempts_made=11) == Bury(Reason.ATTEMPTS_EXHAUSTED)


def test_a_preset_ends_after_its_last_delay() -> None:
    made = [
        settle(_failed(), replace(DELIVERY, attempts_made=n), PRESETS["politicalcomms"], START, 0.0) for n in range(4)
    ]
    assert made == [Retry(each, Reason.HTTP_STATUS) for each in (4, 16, 64)] + [Bury(Reason.ATTEMPTS_EXHAUSTED)]


def test_413_gets_three_attempts() -> None:
    settlements = [_settle(_failed(Reason.PAYLOAD_TOO_LARGE), attempts_made=made) for made in range(4)]
    assert [type(each) for each in settlements] == [Retry, Retry, Bury, Bury]
    assert settlements[2] == Bury(Reason.PAYLOAD_TOO_LARGE)


@pytest.mark.parametrize("made", [0, 11, 500])
def test_a_fault_of_ours_never_counts_and_never_buries(made: int) -> None:
    ours = _failed(Reason.INTERNAL, is_ours=True)
    settled = _settle(ours, after_seconds=1e7, attempts_made=made, attempts_recorded=made, draw=1.0)
    assert settled == Retry(30.0, Reason.INTERNAL)


def test_a_fault_of_ours_that_stays_is_tried_ever_less_often() -> None:
    ours = _failed(Reason.INTERNAL, is_ours=True)
    waits = [_settle(ours, attempts_made=2, attempts_recorded=2 + faults) for faults in (0, 1, 2, 6, 7, 10_000)]
    assert waits == [Retry(each, Reason.INTERNAL) for each in (30.0, 60.0, 120.0, 1920.0, 3600.0, 3600.0)]


def test_three_losses_in_a_row_end_it_but_not_two_and_another() -> None:
    lost = _failed(Reason.LOST)
    assert _settle(lost, lost_in_a_row=0) == Retry(5, Reason.LOST)
    assert _settle(lost, lost_in_a_row=1, attempts_made=1) == Retry(15, Reason.LOST)
    assert _settle(lost, lost_in_a_row=2, attempts_made=2) == Bury(Reason.CRASHES_WORKER)
    assert _settle(_failed(), lost_in_a_row=2, attempts_made=2) == Retry(45, Reason.HTTP_STATUS)


def test_age_is_judged_by_when_the_next_attempt_would_be() -> None:
    limit = STANDARD.age_max_seconds
    assert isinstance(_settle(_failed(), after_seconds=limit - 5), Retry)
    assert _settle(_failed(), after_seconds=limit - 4.9) == Bury(Reason.AGE_EXCEEDED)
    assert _settle(_failed(), after_seconds=limit * 2) == Bury(Reason.AGE_EXCEEDED)


@pytest.mark.parametrize(
    ("hint", "draw", "delay"),
    [
        (None, 0.0, 15),
        (None, -1.0, 12),
        (None, 1.0, 18),
        (0, -1.0, 18),  # a wish was made: jitter only upward
        (10, 0.0, 15),  # the longer of the two
        (100, 0.0, 100),
        (100, -1.0, 120),
        (100, 1.0, 120),
    ],
)
def test_a_wish_to_wait_is_a_minimum(hint: int | None, draw: float, delay: float) -> None:
    settlement = _settle(_failed(retry_after_seconds=hint), draw=draw, attempts_made=1)
    assert isinstance(settlement, Retry)
    assert settlement.delay_seconds == pytest.approx(delay)


def test_a_wish_for_the_endpoint_holds_for_the_delivery_too() -> None:
    settlement = _settle(_failed(retry_after_seconds=100, gates_endpoint=True))
    assert isinstance(settlement, Retry)
    assert settlement.delay_seconds >= 100
    assert _settle(_failed(retry_after_seconds=0, gates_endpoint=True)) == Retry(5, Reason.HTTP_STATUS)


outcomes = st.one_of(
    st.just(Accepted()),
    st.just(Gone()),
    st.builds(
        Failed,
        st.sampled_from([reason for reason in Reason if reason is not Reason.INTERNAL]),
        retry_after_seconds=st.none() | st.integers(0, 86_400),
        gates_endpoint=st.booleans(),
    ),
    st.just(Failed(Reason.INTERNAL, is_ours=True)),
)


@given(outcomes, st.integers(0, 30), st.integers(0, 4), st.floats(0, 1e6), st.floats(-1, 1))
def test_whatever_happens_it_is_a_step_that_a_lease_can_take(
    outcome: Outcome, made: int, lost: int, after: float, draw: float
) -> None:
    settlement = _settle(outcome, attempts_made=made, lost_in_a_row=lost, after_seconds=after, draw=draw)
    assert STEPS[State.LEASED][settlement.step] is settlement.state
    if isinstance(settlement, Retry) and settlement.reason is not Reason.INTERNAL:
        assert made + 1 < STANDARD.attempts_max
        assert after + settlement.delay_seconds <= STANDARD.age_max_seconds
        hint = outcome.retry_after_seconds if isinstance(outcome, Failed) else None
        assert settlement.delay_seconds >= (hint or 0)
