"""What the end of an attempt does beyond its own delivery: decided here, applied by the store and the worker."""

from datetime import datetime
from typing import assert_never
from uuid import UUID

from msgspec import Struct

from service.core.deliveries.announcements import endpoint_gone
from service.core.deliveries.delivery import Delivery, DeliveryKey
from service.core.deliveries.outcome import Accepted, Failed, Gone, Outcome
from service.core.endpoints.gates.gate import GateKind
from service.core.events.event import Event
from service.core.reason import Reason


class ShutGate(Struct, frozen=True, gc=False):
    """Make no attempts at this endpoint for ``seconds``. A gate already shut for longer stays unchanged."""

    endpoint_id: str
    seconds: float
    kind: GateKind


class CountFailure(Struct, frozen=True, gc=False):
    """An attempt at this endpoint failed, through no fault of ours: its breaker counts it.

    ``is_outage``: there was no connection, no answer in time, or one that means an overload or an error (429, 5xx).
    """

    endpoint_id: str
    is_outage: bool


class EndSubscription(Struct, frozen=True, gc=False):
    """End the subscription and cancel its open deliveries.

    ``leading_to`` is the URL that answered 410, as stored: if the endpoint's URL has changed since, the subscription
    stays. None ends it whatever the URL. If it ends by this, ``announced`` says so.
    """

    subscription_id: int
    leading_to: str | None
    announced: Event | None = None


class BringForward(Struct, frozen=True, gc=False):
    """Make ``count`` of the endpoint's waiting retries due now, those that would wait longest first: it is back."""

    endpoint_id: str
    count: int


class FreePlace(Struct, frozen=True, gc=False):
    """Free the place that a lease held at a limited endpoint.

    ``is_unused``: no request was begun, so the endpoint's rate may let another one through instead.
    """

    endpoint_id: str
    key: DeliveryKey
    claim_number: int
    is_unused: bool = False


class Announce(Struct, frozen=True, gc=False):
    """Record an operational event that tells what became of the delivery, and defer its fan-out.

    Unlike the other effects it applies only if this settlement moved the delivery, and only if the organization has a
    subscription that covers the event.
    """

    event: Event


class AdvanceLine(Struct, frozen=True, gc=False):
    """The head of a line has been tried: if it has ended, the next follows; else its time to give way is counted."""

    endpoint_id: str
    line: UUID
    key: DeliveryKey


Effect = ShutGate | CountFailure | EndSubscription | BringForward | FreePlace | Announce | AdvanceLine


def effects_of(outcome: Outcome, delivery: Delivery, target_url: str | None, at: datetime) -> tuple[Effect, ...]:
    """The effects of this outcome. They apply even if the delivery itself has moved on or is dead."""
    match outcome:
        case Accepted():
            return ()
        case Gone():
            return (EndSubscription(delivery.key.subscription_id, target_url, endpoint_gone(delivery, at)),)
        case Failed():
            if outcome.is_ours or outcome.reason is Reason.LOST:
                return ()
            counted = CountFailure(delivery.endpoint_id, outcome.is_outage)
            if outcome.gates_endpoint and outcome.retry_after_seconds:
                seconds = float(outcome.retry_after_seconds)
                return (counted, ShutGate(delivery.endpoint_id, seconds, GateKind.RETRY_AFTER))
            return (counted,)
        case _:
            assert_never(outcome)
