"""What the end of an attempt does beyond its own delivery: decided here, applied by the store and the worker."""

from typing import assert_never

from msgspec import Struct

from service.core.deliveries.delivery import Delivery
from service.core.deliveries.outcome import Accepted, Failed, Gone, Outcome
from service.core.endpoints.gate import GateKind


class ShutGate(Struct, frozen=True, gc=False):
    """Make no attempts at this endpoint for ``seconds``. A gate already shut for longer stays unchanged."""

    endpoint_id: str
    seconds: float
    kind: GateKind


class EndSubscription(Struct, frozen=True, gc=False):
    """End the subscription and cancel its open deliveries.

    ``leading_to`` is the URL that answered 410: if the endpoint's URL has changed since, the subscription stays. None
    ends it whatever the URL.
    """

    subscription_id: int
    leading_to: str | None


Effect = ShutGate | EndSubscription


def effects_of(outcome: Outcome, delivery: Delivery, target_url: str | None) -> tuple[Effect, ...]:
    """The effects of this outcome. They apply even if the delivery itself has moved on or is dead."""
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
