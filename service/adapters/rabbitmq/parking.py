"""The form of a parked message: the original bytes, with headers that say where it came from and why it was parked."""

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.common import FieldTable
from pamqp.header import ContentHeader

from service.adapters.rabbitmq.publisher import PERSISTENT
from service.core.reason import ParkReason

DETAIL_CHARACTERS_MAX = 1000
PROPERTIES_BYTES_MAX = 64 * 1024
"""All properties travel in one frame, which RabbitMQ limits to 128 kB; it closes the connection for a larger one."""


def parked_properties(original: DeliveredMessage, reason: ParkReason, detail: str) -> Basic.Properties:
    """The original's properties and headers, as far as they can be sent again, with the reason added.

    ``user_id`` is dropped (the broker refuses another user's), and so is ``expiration``: parked messages do not expire.
    """
    ours: FieldTable = {
        "x-posthorn-reason": reason.value,
        "x-posthorn-detail": detail[:DETAIL_CHARACTERS_MAX],
        "x-posthorn-exchange": original.exchange or "",
        "x-posthorn-routing-key": original.routing_key or "",
    }
    given = original.header.properties
    everything = Basic.Properties(
        content_type=given.content_type,
        content_encoding=given.content_encoding,
        headers={**(given.headers or {}), **ours},
        delivery_mode=PERSISTENT,
        correlation_id=given.correlation_id,
        message_id=given.message_id,
        timestamp=given.timestamp,
        message_type=given.message_type,
        app_id=given.app_id,
    )
    if _can_be_sent(everything):
        return everything
    return Basic.Properties(
        content_type=given.content_type, headers=ours, delivery_mode=PERSISTENT, message_id=given.message_id
    )


def _can_be_sent(properties: Basic.Properties) -> bool:
    """Whether the properties can be encoded and fit. Some that can be decoded cannot: bytes in a header."""
    try:
        return len(ContentHeader(properties=properties).marshal()) <= PROPERTIES_BYTES_MAX
    except (TypeError, ValueError, OverflowError):
        return False
