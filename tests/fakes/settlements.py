"""Settlements, as the road from a reply to the store makes them."""

from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.request import Fault, Reply
from service.core.deliveries.settlement import Settled, conclude
from service.core.endpoints.retry_schedule import STANDARD, RetrySchedule
from service.core.reason import Reason
from service.ports.store import Claimed
from tests.fakes.clock import START

LOST = Fault(Reason.LOST, 0)
INTERNAL = Fault(Reason.INTERNAL, 0, "out of sockets")


def settled_by(
    claim: Claimed,
    reply: Reply | Fault | int = 200,
    *,
    retry_after: str | None = None,
    schedule: RetrySchedule = STANDARD,
    target_url: str | None = None,
) -> Settled:
    """What follows for ``claim`` from ``reply`` (a number is a status)."""
    if isinstance(reply, int):
        reply = Reply(reply, 7, b"", (retry_after,) if retry_after else ())
    started = AttemptStarted(claim.delivery, claim.claim_number, target_url, START)
    return conclude(started, reply, schedule, START, 0.0)
