"""What an outcome means for the delivery."""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from service.core.deliveries.attempt import Attempt
from service.core.deliveries.delivery import Delivery, State, Step
from service.core.deliveries.outcome import Accepted, Failed, Gone, Outcome
from service.core.endpoints.retry_schedule import RetrySchedule
from service.core.reason import Reason

INTERNAL_RETRY_SECONDS = 30.0
INTERNAL_RETRY_MAX_SECONDS = 3600.0
PAYLOAD_TOO_LARGE_ATTEMPTS_MAX = 3
LOST_IN_A_ROW_MAX = 3


@dataclass(frozen=True, slots=True)
class Deliver:
    """Done: the receiver has it."""

    step = Step.ACCEPT
    state = State.DELIVERED
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again ``delay_seconds`` from now; ``gate_seconds`` holds the whole endpoint back for as long."""

    delay_seconds: float
    reason: Reason
    gate_seconds: float | None = None
    step = Step.RETRY
    state = State.PENDING


@dataclass(frozen=True, slots=True)
class Bury:
    """Give up."""

    reason: Reason
    step = Step.BURY
    state = State.DEAD


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """410: cancel this delivery, end the subscription, and cancel what else waits for it."""

    reason: Reason = Reason.GONE
    step = Step.CANCEL
    state = State.CANCELLED


@dataclass(frozen=True, slots=True)
class Cancel:
    """The subscription is gone, so nobody waits for this delivery: no attempt is made."""

    reason: Reason = Reason.SUBSCRIPTION_DELETED
    step = Step.CANCEL
    state = State.CANCELLED


Settlement = Deliver | Retry | Bury | Unsubscribe | Cancel


@dataclass(frozen=True, slots=True)
class Settled:
    """A settlement on its way to the database, with the attempt that led to it (none where no POST was made).

    ``target_url`` is where the attempt went: a 410 from there ends a subscription that still leads there, not one that
    its endpoint has meanwhile moved elsewhere.
    """

    delivery: Delivery
    claim_number: int
    settlement: Settlement
    attempt: Attempt | None
    target_url: str | None = None


def settle(outcome: Outcome, delivery: Delivery, schedule: RetrySchedule, now: datetime, draw: float) -> Settlement:
    """Decide. ``draw`` in [-1, 1] is the jitter, drawn once; the chosen time is stored."""
    match outcome:
        case Accepted():
            return Deliver()
        case Gone():
            return Unsubscribe()
        case Failed():
            return _after_failure(outcome, delivery, schedule, now, draw)
        case _:
            assert_never(outcome)


def _after_failure(
    failed: Failed, delivery: Delivery, schedule: RetrySchedule, now: datetime, draw: float
) -> Retry | Bury:
    if failed.is_ours:
        # Soon at first, then ever less often: a fault of ours that stays must not fill the attempts table.
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
    return Retry(delay_seconds, failed.reason, float(hint) if failed.gates_endpoint and hint else None)
