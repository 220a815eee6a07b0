"""Settlements for the observers to be told of."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.delivery import Delivery, DeliveryKey
from service.core.deliveries.request import Fault, Reply
from service.core.deliveries.settlement import Cancel, Settled, conclude
from service.core.endpoints.retry_schedule import STANDARD
from service.core.reason import Reason

CREATED_AT = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
URL = "https://hooks.example.com/a"
PAYLOAD = b'{"text":"hunter2"}'


def delivery(**changes: int) -> Delivery:
    key = DeliveryKey(UUID(int=7), 3)
    return Delivery(key, "org_a", "evt_1", "link.clicked", PAYLOAD, "ep_1", CREATED_AT, **changes)


def settled(reply: Reply | Fault, **changes: int) -> Settled:
    """What the flow makes of a reply two seconds after intake."""
    started = AttemptStarted(delivery(**changes), 1, URL, CREATED_AT + timedelta(seconds=2))
    return conclude(started, reply, STANDARD, started.at, 0.0)


ACCEPTED = settled(Reply(204, 500))
FAILED = settled(Reply(500, 70, b"hunter2", location="https://x/?token=hunter2"))
BURIED = settled(Reply(500, 70), attempts_made=11)
GONE = settled(Reply(410, 5))
CANCELLED = Settled(delivery(), 1, Cancel(Reason.SUBSCRIPTION_DELETED), None)
