"""The form of a parked message: the original bytes, with headers that say where it came from and why it was parked."""

from base64 import b64encode
from contextlib import suppress
from datetime import datetime

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from service.adapters.rabbitmq.delivery import Delivery
from service.adapters.rabbitmq.properties import (
    UnreadableError,
    join_properties,
    join_table,
    split_properties,
    text_entry,
    top_level,
)
from service.adapters.rabbitmq.publisher import PERSISTENT
from service.core.reason import ParkReason
from service.core.timestamp import format_timestamp

DETAIL_CHARACTERS_MAX = 1000
PROPERTIES_BYTES_MAX = 64 * 1024
"""All properties travel in one frame, which RabbitMQ limits to 128 kB; it closes the connection for a larger one."""
OURS = b"x-posthorn-"
SENT_AGAIN = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "message_id",
    "timestamp",
    "message_type",
    "app_id",
)
"""Not ``user_id`` (the broker refuses another user's) and not ``expiration``: parked messages do not expire."""


class Encoded(Basic.Properties):
    """Properties that are encoded already: pamqp can neither read nor write all that a producer can send."""

    __slots__ = ["encoded"]

    def __init__(self, encoded: bytes, *, sent_as: str) -> None:
        """``sent_as`` is what aiormq knows the message by; it is not sent."""
        super().__init__(message_id=sent_as)
        self.encoded = encoded

    def marshal(self) -> bytes:
        """Return the bytes for the wire."""
        return self.encoded


def parked_properties(original: Delivery, reason: ParkReason, detail: str, at: datetime) -> bytes:
    """Return the original's properties and headers byte by byte, as far as they can be sent again, with the reason.

    Those that cannot be read are all sent in one header, in base64, so that any client can take parked messages.
    """
    ours = [
        text_entry("x-posthorn-reason", reason.value),
        text_entry("x-posthorn-detail", detail[:DETAIL_CHARACTERS_MAX]),
        text_entry("x-posthorn-parked-at", format_timestamp(at)),
        text_entry("x-posthorn-exchange", shown(original.exchange)),
        text_entry("x-posthorn-routing-key", shown(original.routing_key)),
    ]
    aside = [text_entry("x-posthorn-properties", b64encode(original.properties).decode())]
    forms: list[tuple[dict[str, bytes], list[bytes]]] = [({}, aside), ({}, [])]
    with suppress(UnreadableError):
        found = split_properties(original.properties)
        entries = top_level(found["headers"]) if "headers" in found else ()
        theirs = [entry for name, entry in entries if not name.startswith(OURS)]
        again = {name: found[name] for name in SENT_AGAIN if name in found}
        timeless = {name: value for name, value in again.items() if name != "timestamp"}
        forms = [(again, theirs), (timeless, theirs), (timeless, aside), (timeless, [])]
    encoded = (
        join_properties({**kept, "delivery_mode": bytes([PERSISTENT]), "headers": join_table([*headers, *ours])})
        for kept, headers in forms
    )
    return next(each for each in encoded if _can_be_read(each))


COUNTED = (b"x-delivery-count", b"x-acquired-count")
"""What RabbitMQ writes into a message that it delivers again."""
OF_PARKING = (OURS, b"x-death", b"x-first-death-", b"x-last-death-", *COUNTED)


def restored_properties(parked: Delivery) -> bytes:
    """The properties and headers that the message had before it was parked, as far as they can be sent again."""
    return _without(parked, OF_PARKING)


def renewed_properties(parked: Delivery) -> bytes:
    """The properties and headers of a parked message that is parked anew, without the broker's counts."""
    return _without(parked, COUNTED)


def _without(parked: Delivery, prefixes: tuple[bytes, ...]) -> bytes:
    mode = {"delivery_mode": bytes([PERSISTENT])}
    try:
        found = split_properties(parked.properties)
    except UnreadableError:
        return join_properties(mode)
    kept = {name: found[name] for name in SENT_AGAIN if name in found} | mode
    entries = top_level(found["headers"]) if "headers" in found else ()
    headers = [entry for name, entry in entries if not name.startswith(prefixes)]
    whole = join_properties({**kept, "headers": join_table(headers)} if headers else kept)
    return whole if _can_be_read(whole) else join_properties(mode)


def _can_be_read(properties: bytes) -> bool:
    """Whether a frame has room for them, and a usual client can decode them; pamqp stands for such a client.

    A timestamp may be any 64 bits, in a header, too, and most clients fail at one beyond the year 9999.
    """
    try:
        ContentHeader().unmarshal(bytes(12) + properties)
    except (ValueError, OverflowError, OSError):
        return False
    return len(properties) <= PROPERTIES_BYTES_MAX


def shown(name: bytes) -> str:
    """Return the name of an exchange or a routing key, with an escape for each byte that is not UTF-8."""
    return name.decode(errors="backslashreplace")
