"""How an attempt ends: what its outcome means for the delivery, as the value that the store writes."""

from datetime import datetime
from typing import assert_never

from msgspec import Struct

from service.core.deliveries.attempt import Attempt, AttemptStarted, attempt_of
from service.core.deliveries.delivery import Delivery, State, Step
from service.core.deliveries.effect import Effect, effects_of
from service.core.deliveries.outcome import Accepted, Failed, Gone, Outcome, classify
from service.core.deliveries.request import Fault, Reply
from service.core.endpoints.retry_schedule import RetrySchedule
from service.core.reason import Reason

INTERNAL_RETRY_SECONDS = 30.0
INTERNAL_RETRY_MAX_SECONDS = 3600.0
PAYLOAD_TOO_LARGE_ATTEMPTS_MAX = 3
LOST_IN_A_ROW_MAX = 3


class Accept(Struct, frozen=True, gc=False):
    """The receiver has it."""

    step = Step.ACCEPT
    state = State.DELIVERED
    delay_seconds = None
    reason: Reason | None = None


class Retry(Struct, frozen=True, gc=False):
    """Try again ``delay_seconds`` from now."""

    delay_seconds: float
    reason: Reason
    step = Step.RETRY
    state = State.PENDING


class Bury(Struct, frozen=True, gc=False):
    """Give the delivery up."""

    reason: Reason
    step = Step.BURY
    state = State.DEAD
    delay_seconds = None


class Cancel(Struct, frozen=True, gc=False):
    """The delivery is no longer wanted: the subscription was deleted, or the receiver answered 410."""

    reason: Reason
    step = Step.CANCEL
    state = State.CANCELLED
    delay_seconds = None


Settlement = Accept | Retry | Bury | Cancel
"""One class for each step that can end a lease; ``delay_seconds`` is None except for Retry."""


class Settled(Struct, frozen=True, gc=False):
    """A settlement to be written, with the attempt that led to it (None if no POST was made)."""

    delivery: Delivery
    claim_number: int
    settlement: Settlement
    attempt: Attempt | None
    effects: tuple[Effect, ...] = ()


def conclude(
    started: AttemptStarted, reply: Reply | Fault, schedule: RetrySchedule, now: datetime, draw: float
) -> Settled:
    """End an attempt: classify the reply, settle the delivery, and make the attempt's row and effects."""
    delivery, claim_number = started.delivery, started.claim_number
    outcome = classify(reply, now)
    return Settled(
        delivery,
        claim_number,
        settle(outcome, delivery, schedule, now, draw),
        attempt_of(delivery, claim_number, started.at, reply, outcome),
        effects_of(outcome, delivery, started.target_url),
    )


def settle(outcome: Outcome, delivery: Delivery, schedule: RetrySchedule, now: datetime, draw: float) -> Settlement:
    """What the outcome means for the delivery. ``draw`` in [-1, 1] is the jitter, drawn once per attempt."""
    match outcome:
        case Accepted():
            return Accept()
        case Gone():
            return Cancel(Reason.GONE)
        case Failed():
            return _after_failure(outcome, delivery, schedule, now, draw)
        case _:
            assert_never(outcome)


def _after_failure(
    failed: Failed, delivery: Delivery, schedule: RetrySchedule, now: datetime, draw: float
) -> Retry | Bury:
    if failed.is_ours:
        # Soon at first, then less and less often: a persistent fault in Posthorn must not fill the attempts table.
        doubled = INTERNAL_RETRY_SECONDS * 2.0 ** min(delivery.attempts_recorded - delivery.attempts_made, 10)
        return Retry(min(INTERNAL_RETRY_MAX_SECONDS, doubled), failed.reason)
    if failed.reason is Reason.LOST and delivery.lost_in_a_row + 1 >= LOST_IN_A_ROW_MAX:
        return Bury(Reason.CRASHES_WORKER)
    attempts_made = delivery.attempts_made + 1
    if failed.reason is Reason.PAYLOAD_TOO_LARGE and attempts_made >= PAYLOAD_TOO_LARGE_ATTEMPTS_MAX:
        return Bury(Reason.PAYLOAD_TOO_LARGE)
    scheduled = schedule.delay_seconds(attempts_made)
    if scheduled is None:
        return Bury(Reason.ATTEMPTS_EXHAUSTED)
    hint = failed.retry_after_seconds
    wished = max(scheduled, hint or 0)
    delay_seconds = schedule.spread(wished, draw, upward=hint is not None)
    if (now - delivery.created_at).total_seconds() + delay_seconds > schedule.age_max_seconds:
        return Bury(Reason.AGE_EXCEEDED)
    return Retry(delay_seconds, failed.reason)
