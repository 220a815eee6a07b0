"""Settlements, as the road from a reply to the store makes them."""

from service.core.attempt import attempt_of
from service.core.outcome import classify
from service.core.reason import Reason
from service.core.request import Fault, Reply
from service.core.retry_schedule import STANDARD, RetrySchedule
from service.core.settlement import Settled, settle
from service.ports import Claim
from tests.fakes.clock import START

LOST = Fault(Reason.LOST, 0)
INTERNAL = Fault(Reason.INTERNAL, 0, "out of sockets")


def settled_by(
    claim: Claim,
    reply: Reply | Fault | int = 200,
    *,
    retry_after: str | None = None,
    schedule: RetrySchedule = STANDARD,
) -> Settled:
    """What follows for ``claim`` from ``reply`` (a number is a status)."""
    if isinstance(reply, int):
        reply = Reply(reply, 7, b"", (retry_after,) if retry_after else ())
    outcome = classify(reply, START)
    settlement = settle(outcome, claim.delivery, schedule, claim.delivery.created_at, 0.0)
    attempt = attempt_of(claim.delivery, claim.claim_number, START, reply, outcome)
    return Settled(claim.delivery, claim.claim_number, settlement, attempt)
