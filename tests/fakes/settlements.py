"""Settlements, as the road from a reply to the store makes them."""

from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.delivery import Lease
from service.core.deliveries.request import Fault, Reply
from service.core.deliveries.settlement import Release, Settled, conclude, conclude_loss
from service.core.endpoints.endpoint import Endpoint
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
    """What follows for ``claim`` from ``reply`` (a number is a status), or from its lease's end (``LOST``)."""
    if isinstance(reply, int):
        reply = Reply(reply, 7, b"", (retry_after,) if retry_after else ())
    started = AttemptStarted(claim.delivery, claim.claim_number, target_url, START)
    if reply is LOST:
        return conclude_loss(started, schedule, 0.0, has_begun=claim.has_begun)
    return conclude(started, reply, schedule, START, 0.0)


def lease_for(claim: Claimed) -> Lease:
    """The lease that a claim came with, to an endpoint that nobody calls."""
    delivery = claim.delivery
    endpoint = Endpoint(delivery.endpoint_id, delivery.organization_id, "https://a.example/", ())
    return Lease(delivery, endpoint, claim.claim_number, 0.0, directory_version=claim.directory_version)


def released(lease: Lease | Claimed) -> Settled:
    """The lease given back."""
    return Settled(lease.delivery, lease.claim_number, Release(), None)
