"""What the end of an attempt gives to announce. Nothing, if the delivery is itself one of an operational event."""

from datetime import datetime

from service.core.deliveries.delivery import Delivery
from service.core.events.event import Event
from service.core.events.operational import operational_event
from service.core.events.types.operational import (
    DELIVERY_DEAD,
    ENDPOINT_GONE,
    AboutDeadDelivery,
    AboutDelivery,
    AboutEndpoint,
    AboutSubscription,
    DeliveryDead,
    EndpointGone,
    is_operational,
)
from service.core.reason import Reason
from service.core.timestamp import format_timestamp


def delivery_dead(delivery: Delivery, reason: Reason, last_status: int | None, at: datetime) -> Event | None:
    """The delivery, which is told as it was in the end, was given up."""
    if is_operational(delivery.event_type):
        return None
    key = delivery.key
    about = AboutDeadDelivery(
        id=str(key),
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        subscription_id=key.subscription_id,
        reason=reason,
        attempts_made=delivery.attempts_made,
        last_status=last_status,
        created_at=format_timestamp(delivery.created_at),
    )
    data = DeliveryDead(AboutEndpoint(delivery.endpoint_id), about)
    return operational_event(DELIVERY_DEAD, about.id, delivery.organization_id, at, data)


def endpoint_gone(delivery: Delivery, at: datetime) -> Event | None:
    """The receiver answered 410, so the subscription ends."""
    if is_operational(delivery.event_type):
        return None
    about = AboutDelivery(str(delivery.key), delivery.event_id, delivery.event_type)
    subscription = AboutSubscription(delivery.key.subscription_id)
    data = EndpointGone(AboutEndpoint(delivery.endpoint_id), subscription, about)
    return operational_event(ENDPOINT_GONE, f"subscription {subscription.id}", delivery.organization_id, at, data)
