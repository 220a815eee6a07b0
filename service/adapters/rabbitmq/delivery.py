"""A message as the broker delivers it, put together from its frames. What a producer wrote makes nothing here fail."""

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception
from typing import Final

from aiormq.exceptions import ProtocolSyntaxError

from service.adapters.rabbitmq.properties import UnreadableError, check_text, split_properties, text_of
from service.core.events.event import BODY_BYTES_MAX, Rejected
from service.core.reason import ParkReason

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
BASIC_DELIVER: Final = b"\x00\x3c\x00\x3c"
BASIC_RETURN: Final = b"\x00\x3c\x00\x32"

_tag_and_redelivered = Struct(">QB")
_class_weight_body_size = Struct(">HHQ")


@dataclass(slots=True)
class Delivery:
    """One message. ``fault`` says why it cannot be an event, as far as its properties and size tell.

    The body of one that is too large was dropped as it arrived.
    """

    tag: int
    is_redelivered: bool
    exchange: bytes
    routing_key: bytes
    properties: bytes
    body_size: int
    message_id: str | None = None
    content_type: str | None = None
    fault: Rejected | None = None
    body: bytes = b""

    @property
    def is_too_large(self) -> bool:
        """Whether the body was dropped."""
        return self.body_size > BODY_BYTES_MAX


class Messages:
    """Takes the frames of messages out of those that arrive: deliveries, and messages of ours that are returned.

    One channel's at a time; RabbitMQ never mixes the frames of one message with others of its channel.
    """

    def __init__(
        self, on_delivery: Callable[[Delivery], None] | None, on_return: Callable[[], None] | None = None
    ) -> None:
        """Those without a callback are left to aiormq."""
        self._on_delivery = on_delivery
        self._on_return = on_return
        self._channel: int | None = None  # of the message that is arriving
        self._method = b""
        self._delivery: Delivery | None = None
        self._missing_bytes: int | None = None  # of its body; None before its header
        self._pieces: list[bytes] = []

    def take(self, kind: int, channel: int, payload: bytes) -> bool:
        """Return whether the frame is part of a message, and thus dealt with. Raises ``ProtocolSyntaxError``."""
        if channel != self._channel:
            return kind == METHOD and self._begin(channel, payload)
        try:
            if kind == HEADER and self._missing_bytes is None:
                self._take_header(payload)
            elif kind == BODY and self._missing_bytes is not None and len(payload) <= self._missing_bytes:
                self._take_body(payload)
            else:
                raise ProtocolSyntaxError(f"the broker sent a frame of type {kind} in the middle of a message")
        except (StructError, IndexError) as error:
            raise ProtocolSyntaxError(f"the broker sent a message whose frames do not add up: {error}") from error
        if self._missing_bytes == 0:
            self._end()
        return True

    def _begin(self, channel: int, payload: bytes) -> bool:
        method = payload[:4]
        is_ours = (method == BASIC_DELIVER and self._on_delivery is not None) or (
            method == BASIC_RETURN and self._on_return is not None
        )
        if is_ours:
            if self._channel is not None:
                raise ProtocolSyntaxError("the broker began a message in the middle of another")
            self._channel, self._method = channel, payload
        return is_ours

    def _take_header(self, payload: bytes) -> None:
        _, _, body_size = _class_weight_body_size.unpack_from(payload)
        if self._method.startswith(BASIC_DELIVER):
            self._delivery = _read(self._method, payload[_class_weight_body_size.size :], body_size)
        self._missing_bytes = body_size

    def _take_body(self, payload: bytes) -> None:
        if self._delivery is not None and self._keeps(self._delivery, payload):
            self._pieces.append(payload)
        self._missing_bytes = (self._missing_bytes or 0) - len(payload)

    def _keeps(self, delivery: Delivery, piece: bytes) -> bool:  # noqa: ARG002 - for those who count or digest it
        """Whether to keep this piece of a body."""
        return not delivery.is_too_large

    def _end(self) -> None:
        delivery, pieces = self._delivery, self._pieces
        self._channel = self._missing_bytes = self._delivery = None
        self._pieces = []
        if delivery is None:
            if self._on_return is not None:
                self._on_return()
        elif self._on_delivery is not None:
            delivery.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._on_delivery(delivery)


def _read(method: bytes, properties: bytes, body_size: int) -> Delivery:
    at = 5 + method[4]  # after the method's number and the consumer's tag
    tag, is_redelivered = _tag_and_redelivered.unpack_from(method, at)
    exchange_at = at + _tag_and_redelivered.size
    routing_key_at = exchange_at + 1 + method[exchange_at]
    exchange = method[exchange_at + 1 : routing_key_at]
    routing_key = method[routing_key_at + 1 : routing_key_at + 1 + method[routing_key_at]]
    delivery = Delivery(tag, bool(is_redelivered & 1), exchange, routing_key, properties, body_size)
    try:
        check_text(exchange, "the exchange")
        check_text(routing_key, "the routing key")
        found = split_properties(properties)
        delivery.message_id = text_of(found.get("message_id"))
        delivery.content_type = text_of(found.get("content_type"))
    except UnreadableError as error:
        delivery.fault = Rejected(ParkReason.BAD_PROPERTIES, str(error))
    if delivery.is_too_large:
        text = f"the event has {body_size} bytes; the limit is {BODY_BYTES_MAX}"
        delivery.fault = Rejected(ParkReason.TOO_LARGE, text)
    return delivery
