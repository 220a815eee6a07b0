"""How an attempt ends: what its outcome means for the delivery, as the value that the store writes."""

from collections.abc import Iterator
from datetime import datetime
from typing import assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from service.core.deliveries.allowance import Grant
from service.core.deliveries.announcements import delivery_dead
from service.core.deliveries.attempt import Attempt, AttemptStarted, attempt_of, storable
from service.core.deliveries.delivery import Delivery, State, Step
from service.core.deliveries.effect import AdvanceLine, Announce, Effect, FreePlace, effects_of
from service.core.deliveries.outcome import Accepted, Failed, Gone, Outcome, classify
from service.core.deliveries.request import Fault, Reply, Request
from service.core.endpoints.retry_schedule import RetrySchedule
from service.core.reason import Reason

INTERNAL_RETRY_SECONDS = 30.0
INTERNAL_RETRY_MAX_SECONDS = 3600.0
INTERNAL_RETRY_SPREAD = 0.5  # half as long to half as long again: what failed together must not come back together
LOST_RETRY_SECONDS = 5.0  # on average; a lost worker's leases come back over twice this time, not at one instant
PAYLOAD_TOO_LARGE_ATTEMPTS_MAX = 3

_UNRECORDED = "the database refused what was observed"


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


class Release(Struct, frozen=True, gc=False):
    """Give the lease back: the POST has not begun. Nothing changes but when the delivery is due."""

    delay_seconds: float = 0.0
    step = Step.RELEASE
    state = State.PENDING
    reason: Reason | None = None


class Bury(Struct, frozen=True, gc=False):
    """Give the delivery up."""

    reason: Reason
    step = Step.BURY
    state = State.DEAD
    delay_seconds = None


class Cancel(Struct, frozen=True, gc=False):
    """The delivery is no longer wanted: the subscription ended, or the receiver answered 410."""

    reason: Reason
    step = Step.CANCEL
    state = State.CANCELLED
    delay_seconds = None


Settlement = Accept | Retry | Release | Bury | Cancel
"""One class for each step that can end a lease; ``delay_seconds`` is None if the step is a delivery's last."""


class Settled(Struct, frozen=True, gc=False):
    """A settlement to be written, with the attempt that led to it (None if no POST was made)."""

    delivery: Delivery
    claim_number: int
    settlement: Settlement
    attempt: Attempt | None
    effects: tuple[Effect, ...] = ()


def conclude(
    started: AttemptStarted,
    reply: Reply | Fault,
    schedule: RetrySchedule,
    now: datetime,
    draw: float,
    request: Request | Fault | None = None,
) -> Settled:
    """End an attempt: classify the reply, settle the delivery, and make the attempt's row and effects.

    ``request`` is what was sent, or why nothing could be.
    """
    delivery, claim_number = started.delivery, started.claim_number
    outcome = classify(reply, now)
    settled = Settled(
        delivery,
        claim_number,
        settle(outcome, delivery, schedule, now, draw),
        attempt_of(
            delivery, claim_number, started.at, reply, outcome, request if isinstance(request, Request) else None
        ),
        effects_of(outcome, delivery, started.target_url, now),
    )
    return _announced(settled, now)


def conclude_loss(started: AttemptStarted, schedule: RetrySchedule, draw: float, *, has_begun: bool) -> Settled:
    """End a lease that expired: its worker died or hung, or lost the database for longer than a lease.

    After the first loss in a row nobody knows whether the POST had begun. The loss is recorded, is not counted, and
    makes the delivery suspect. From then on ``has_begun`` is known: a loss before the POST changes nothing, and one
    after it counts, as the delivery may be what crashes workers.
    """
    delivery, claim_number = started.delivery, started.claim_number
    if delivery.is_suspect and not has_begun:
        return postpone(delivery, claim_number, draw)
    unknown = "" if has_begun else "; it is not known whether the request was sent"
    detail = f"the worker was lost before it recorded the receiver's answer{unknown}"
    lost = Fault(Reason.LOST, 0, detail)
    outcome = Failed(lost.reason, detail, is_ours=not has_begun)
    settled = Settled(
        delivery,
        claim_number,
        settle(outcome, delivery, schedule, started.at, draw),
        attempt_of(delivery, claim_number, started.at, lost, outcome),
    )
    return _announced(settled, started.at)


def postpone(delivery: Delivery, claim_number: int, draw: float) -> Settled:
    """Give a suspect's lease back, for a few seconds: its worker was lost before the POST, or is busy with another."""
    return Settled(delivery, claim_number, Release(_after_loss_seconds(draw)), None)


def fallbacks(settled: Settled, refusal: str) -> Iterator[Settled]:
    """What to record of a settlement that the database refuses, in this order: as much as it takes.

    First all but what was observed, which is the likely culprit. Then the delivery's end alone; one that was to be
    tried again ends, too, as it could not be told how often it has been tried. Last without announcing it.
    """
    if settled.attempt is not None:
        bare = replace(
            settled.attempt,
            status=None,
            duration_ms=0,
            reply="",
            detail=storable(f"{_UNRECORDED}: {refusal}"),
            headers=None,
        )
        yield replace(settled, attempt=bare)
        is_failure = isinstance(settled.settlement, Retry | Bury)
        end = Bury(Reason.INTERNAL) if is_failure else settled.settlement
        others_wait = tuple(each for each in settled.effects if isinstance(each, FreePlace | AdvanceLine))
        alone = replace(settled, settlement=end, attempt=None, effects=others_wait)
        announced = _announced(alone, settled.attempt.started_at)
        if announced.effects != alone.effects:
            yield announced
        yield alone


def _announced(settled: Settled, at: datetime) -> Settled:
    """The same, with the announcement that the delivery was given up, if it is."""
    if not isinstance(settled.settlement, Bury):
        return settled
    delivery, attempt, status = settled.delivery, settled.attempt, None
    if attempt is not None:
        delivery = replace(delivery, attempts_made=delivery.attempts_made + attempt.is_counted)
        status = attempt.status
    dead = delivery_dead(delivery, settled.settlement.reason, status, at)
    return settled if dead is None else replace(settled, effects=(*settled.effects, Announce(dead)))


def freeing_place(settled: Settled) -> Settled:
    """The same, for a lease that held a place at a limited endpoint."""
    delivery, is_unused = settled.delivery, settled.attempt is None
    freed = FreePlace(delivery.endpoint_id, delivery.key, settled.claim_number, is_unused)
    return replace(settled, effects=(*settled.effects, freed))


def completed(settled: Settled, grant: Grant | None, line: UUID | None) -> Settled:
    """The same, for a lease that came with a ``grant``, or for the head of a ``line``: others may be waiting for it."""
    if grant is not None:
        settled = freeing_place(settled)
    if line is not None and settled.settlement.step is not Step.RELEASE:  # what was not tried is still the head
        advance = AdvanceLine(settled.delivery.endpoint_id, line, settled.delivery.key)
        settled = replace(settled, effects=(*settled.effects, advance))
    return settled


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
        return _after_other_fault(failed.reason, delivery, schedule, now, draw)
    if failed.reason is Reason.LOST and delivery.has_last_chance:
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


def _after_other_fault(
    reason: Reason, delivery: Delivery, schedule: RetrySchedule, now: datetime, draw: float
) -> Retry | Bury:
    """Try again, whatever was tried so far. What neither we nor the receiver can mend is given up with its age."""
    if reason is Reason.LOST:
        return Retry(_after_loss_seconds(draw), reason)
    delay_seconds = _after_own_fault_seconds(delivery, draw)
    is_past = (now - delivery.created_at).total_seconds() + delay_seconds > schedule.age_max_seconds
    return Bury(reason) if is_past and reason is not Reason.INTERNAL else Retry(delay_seconds, reason)


def _after_own_fault_seconds(delivery: Delivery, draw: float) -> float:
    """Soon at first, then less and less often: a persistent fault in Posthorn must not fill the attempts table."""
    doubled = INTERNAL_RETRY_SECONDS * 2.0 ** min(delivery.attempts_recorded - delivery.attempts_made, 10)
    return min(INTERNAL_RETRY_MAX_SECONDS, doubled) * (1 + INTERNAL_RETRY_SPREAD * draw)


def _after_loss_seconds(draw: float) -> float:
    """Soon: the delivery has waited for its lease to expire, which also keeps losses from coming quickly."""
    return LOST_RETRY_SECONDS * (1 + draw)
