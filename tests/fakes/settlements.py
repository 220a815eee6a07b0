"""Settlements, as the road from a reply to the store makes them."""

from service.core.deliveries.attempt import attempt_of
from service.core.deliveries.outcome import classify
from service.core.deliveries.request import Fault, Reply
from service.core.deliveries.settlement import Settled, settle
from service.core.endpoints.retry_schedule import STANDARD, RetrySchedule
from service.core.reason import Reason
from service.ports.store import Claim
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
