"""What the end of an attempt does beyond its own delivery: decided here, obeyed by the store and the worker."""

from typing import assert_never

from msgspec import Struct

from service.core.deliveries.delivery import Delivery
from service.core.deliveries.outcome import Accepted, Failed, Gone, Outcome
from service.core.endpoints.gate import GateKind


class ShutGate(Struct, frozen=True, gc=False):
    """Attempt nothing more at this endpoint for ``seconds``. A gate that is shut for longer stays as it is."""

    endpoint_id: str
    seconds: float
    kind: GateKind


class EndSubscription(Struct, frozen=True, gc=False):
    """End the subscription and cancel what waits for it.

    ``leading_to`` is the URL that answered 410: a subscription whose endpoint has moved elsewhere since stays. None
    ends it wherever it leads.
    """

    subscription_id: int
    leading_to: str | None


Effect = ShutGate | EndSubscription


def effects_of(outcome: Outcome, delivery: Delivery, target_url: str | None) -> tuple[Effect, ...]:
    """What follows for others. It holds even where the delivery itself has moved on, or is given up."""
    match outcome:
        case Accepted():
            return ()
        case Gone():
            return (EndSubscription(delivery.key.subscription_id, target_url),)
        case Failed():
            if outcome.gates_endpoint and outcome.retry_after_seconds:
                seconds = float(outcome.retry_after_seconds)
                return (ShutGate(delivery.endpoint_id, seconds, GateKind.RETRY_AFTER),)
            return ()
        case _:
            assert_never(outcome)
