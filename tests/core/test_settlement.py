"""What an outcome means for the delivery."""

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from service.core.deliveries.allowance import Grant
from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.delivery import STEPS, Delivery, DeliveryKey, State
from service.core.deliveries.effect import AdvanceLine, Announce, FreePlace
from service.core.deliveries.outcome import Accepted, Failed, Gone, Outcome
from service.core.deliveries.request import Fault, Reply
from service.core.deliveries.settlement import (
    Accept,
    Bury,
    Cancel,
    Release,
    Retry,
    Settled,
    Settlement,
    completed,
    conclude,
    conclude_loss,
    fallbacks,
    settle,
)
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
    settled = _settle(ours, after_seconds=1e7, attempts_made=made, attempts_recorded=made)
    assert settled == Retry(30.0, Reason.INTERNAL)


def test_a_fault_of_the_egress_proxy_never_counts_and_ends_with_the_deliverys_age() -> None:
    failed = _failed(Reason.EGRESS_PROXY, is_ours=True)
    assert _settle(failed, attempts_made=11, attempts_recorded=11) == Retry(30.0, Reason.EGRESS_PROXY)
    age_max_seconds = STANDARD.age_max_seconds
    assert isinstance(_settle(failed, after_seconds=age_max_seconds - 31), Retry)
    assert _settle(failed, after_seconds=age_max_seconds - 29) == Bury(Reason.EGRESS_PROXY)


def test_a_fault_of_ours_that_stays_is_tried_ever_less_often() -> None:
    ours = _failed(Reason.INTERNAL, is_ours=True)
    waits = [_settle(ours, attempts_made=2, attempts_recorded=2 + faults) for faults in (0, 1, 2, 6, 7, 10_000)]
    assert waits == [Retry(each, Reason.INTERNAL) for each in (30.0, 60.0, 120.0, 1920.0, 3600.0, 3600.0)]


@pytest.mark.parametrize("faults", [0, 1, 5, 10_000])
def test_faults_of_ours_that_came_together_come_back_spread_out(faults: int) -> None:
    """480 deliveries for which a worker ran out of sockets must not all need one again at one instant."""
    ours = _failed(Reason.INTERNAL, is_ours=True)
    waits = [_seconds(_settle(ours, attempts_recorded=faults, draw=-1 + n / 240)) for n in range(480)]
    middle = min(3600.0, 30.0 * 2 ** min(faults, 10))
    assert waits[0] == middle / 2
    assert waits[-1] == pytest.approx(middle * 1.5, rel=0.01)
    assert _busiest(waits, window=(waits[-1] - waits[0]) / 48) <= 11


def _seconds(settlement: Settlement) -> float:
    assert isinstance(settlement, Retry | Release)
    return settlement.delay_seconds


def _busiest(waits: list[float], window: float) -> int:
    return max(sum(start <= each < start + window for each in waits) for start in waits)


# --------------------------------------------------------------------------- leases that were lost


def _lost(*, has_begun: bool = False, draw: float = 0.0, **changes: int) -> Settled:
    started = AttemptStarted(replace(DELIVERY, **changes), 2, None, START)
    return conclude_loss(started, STANDARD, draw, has_begun=has_begun)


def test_the_first_loss_is_recorded_and_not_counted() -> None:
    for made in (0, 11, 50):
        lost = _lost(attempts_made=made, attempts_recorded=made)
        assert lost.settlement == Retry(5.0, Reason.LOST), "whatever its age and attempts: the POST may not have begun"
        assert lost.attempt is not None
        assert (lost.attempt.number, lost.attempt.reason, lost.attempt.is_counted) == (made + 1, Reason.LOST, False)


def test_a_suspect_that_had_not_begun_is_released_and_nothing_else() -> None:
    lost = _lost(lost_in_a_row=1, attempts_recorded=1)
    assert (lost.settlement, lost.attempt, lost.effects) == (Release(5.0), None, ())
    assert _lost(lost_in_a_row=3).settlement == Release(5.0)
    assert [replace(DELIVERY, lost_in_a_row=n).has_last_chance for n in range(5)] == [False, False, False, True, True]


def test_a_suspect_that_had_begun_is_counted_and_the_third_time_ends_it() -> None:
    assert _lost(has_begun=True, lost_in_a_row=1).settlement == Retry(5, Reason.LOST)
    assert _lost(has_begun=True, lost_in_a_row=2, attempts_made=1).settlement == Retry(15, Reason.LOST)
    third = _lost(has_begun=True, lost_in_a_row=3, attempts_made=2)
    assert third.settlement == Bury(Reason.CRASHES_WORKER)
    assert third.attempt is not None
    assert third.attempt.is_counted
    assert _settle(_failed(), lost_in_a_row=3, attempts_made=2) == Retry(45, Reason.HTTP_STATUS)


@pytest.mark.parametrize("in_a_row", [0, 1])
def test_what_was_lost_together_comes_back_spread_out(in_a_row: int) -> None:
    waits = [_seconds(_lost(lost_in_a_row=in_a_row, draw=-1 + n / 250).settlement) for n in range(500)]
    assert waits[0] == 0.0
    assert waits[-1] == pytest.approx(10.0, abs=0.1)
    assert _busiest(waits, window=1.0) <= 51


# --------------------------------------------------------------------------- what the database refuses


@pytest.mark.parametrize(
    ("reply", "end"),
    [
        (Reply(200, 7), Accept()),
        (Reply(410, 7), Cancel(Reason.GONE)),
        (Reply(500, 7, b"x"), Bury(Reason.INTERNAL)),
        (Fault(Reason.TIMEOUT, 7), Bury(Reason.INTERNAL)),
    ],
    ids=["200", "410", "500", "timeout"],
)
def test_a_refused_settlement_loses_what_was_observed_and_then_the_attempt(
    reply: Reply | Fault, end: Settlement
) -> None:
    whole = conclude(AttemptStarted(DELIVERY, 1, None, START), reply, STANDARD, START, 0.0)
    bare, *announced, alone = fallbacks(whole, "value \0 too long")
    assert whole.attempt is not None
    assert bare.attempt is not None
    assert (bare.settlement, bare.effects) == (whole.settlement, whole.effects)
    assert (bare.attempt.outcome, bare.attempt.reason) == (whole.attempt.outcome, whole.attempt.reason)
    assert (bare.attempt.status, bare.attempt.duration_ms, bare.attempt.reply) == (None, 0, "")
    assert bare.attempt.detail == "the database refused what was observed: value \ufffd too long"
    assert (alone.settlement, alone.attempt, alone.effects) == (end, None, ())
    assert [(each.settlement, each.attempt) for each in announced] == [(end, None)] * isinstance(end, Bury)
    assert all(isinstance(effect, Announce) for each in announced for effect in each.effects)


def test_of_a_settlement_without_an_attempt_there_is_nothing_to_leave_out() -> None:
    assert not list(fallbacks(Settled(DELIVERY, 1, Cancel(Reason.SUBSCRIPTION_DELETED), None), "no"))


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


def test_whatever_is_left_out_others_are_let_go() -> None:
    """Who waits for a place at a limited endpoint, or in a line, does not wait for ever."""
    grant, line = Grant(must_begin_promptly=False, opens_in_seconds=None), UUID(int=7)
    whole = conclude(AttemptStarted(DELIVERY, 1, None, START), Reply(429, 7, b"", ("9",)), STANDARD, START, 0.0)
    *_, alone = fallbacks(completed(whole, grant, line), "no")
    assert alone.effects == (FreePlace("ep_1", DELIVERY.key, 1), AdvanceLine("ep_1", line, DELIVERY.key))
