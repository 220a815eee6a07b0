"""What a delivery from the parked queue is to a person. Nothing that a producer wrote makes this fail."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

from pamqp.header import ContentHeader

from service.adapters.rabbitmq.delivery import Delivery
from service.adapters.rabbitmq.parking import COUNTED, OURS, SENT_AGAIN, shown
from service.adapters.rabbitmq.properties import UnreadableError, outline, split_properties, top_level
from service.core.parked.message import ParkedMessage, claims_of
from service.core.reason import ParkReason
from service.core.timestamp import format_timestamp, parse_timestamp

ID_PREFIX: Final = "prk_"
ID_DIGITS: Final = 32  # 128 bits: nobody finds a second message with the id of another


def message_of(delivery: Delivery, body_digest: bytes, body: bytes | None) -> ParkedMessage:
    """Read a delivery whose whole body has this digest."""
    properties, headers = _decoded(delivery.properties)
    death = _death(headers)
    reason = _text(headers.get("x-posthorn-reason")) or _reason_of(death, delivery)
    parked_at = _moment(headers.get("x-posthorn-parked-at")) or _moment(death.get("time"))
    is_notice = headers.get("x-posthorn-reason") == ParkReason.TOO_LARGE and not delivery.body_size
    return ParkedMessage(
        id=parked_id(delivery, body_digest),
        reason=reason,
        detail=_text(headers.get("x-posthorn-detail")) or _detail_of(death),
        parked_at=parked_at,
        exchange=_text(headers.get("x-posthorn-exchange", death.get("exchange"))),
        routing_key=_text(headers.get("x-posthorn-routing-key")) or shown(delivery.routing_key),
        properties=properties,
        headers={name: value for name, value in headers.items() if not name.encode().startswith((OURS, *COUNTED))},
        body_bytes=delivery.body_size,
        body=body,
        claims=claims_of(body),
        is_notice=is_notice,
    )


def parked_id(delivery: Delivery, body_digest: bytes) -> str:
    """Name a message by what it consists of, but for what changes while it waits: the broker's counts."""
    digest = sha256(body_digest)
    for each in _parts(delivery):
        digest.update(len(each).to_bytes(4))
        digest.update(each)
    return ID_PREFIX + digest.hexdigest()[:ID_DIGITS]


def _parts(delivery: Delivery) -> Iterable[bytes]:
    yield delivery.routing_key
    try:
        found = outline(delivery.properties)
        entries = list(top_level(found["headers"])) if "headers" in found else []
    except (UnreadableError, IndexError, ValueError):  # no broker takes such a message
        return
    yield from (name.encode() + b"=" + found[name] for name in SENT_AGAIN if name in found)
    yield from sorted(entry for name, entry in entries if name not in COUNTED)


def returned_count(delivery: Delivery) -> int:
    """How often the broker says that the message was given back."""
    _, headers = _decoded(delivery.properties)
    counts = [headers.get(name.decode()) for name in COUNTED]
    return max((each for each in counts if isinstance(each, int)), default=0)


def _decoded(encoded: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Properties and headers as JSON has them; all in base64, if they are not what AMQP allows."""
    header = ContentHeader()
    try:
        split_properties(encoded)  # within bounds; pamqp has none
        header.unmarshal(bytes(12) + encoded)
    except (ValueError, OverflowError, OSError):
        return {"encoded": b64encode(encoded).decode()}, {}
    values = dict(header.properties)
    headers = values.pop("headers", None) or {}
    return _plain({name: value for name, value in values.items() if value not in {None, ""}}), _plain(headers)


def _plain(value: Any) -> Any:  # noqa: ANN401, PLR0911 - a table of what a header may be
    match value:
        case datetime():
            return format_timestamp(value)
        case bytes() | bytearray():
            return shown(bytes(value))
        case Decimal():
            return str(value)
        case float() if value != value or abs(value) == float("inf"):  # noqa: PLR0124 - NaN, which JSON has not
            return str(value)
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case _:
            return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _moment(value: object) -> datetime | None:
    return parse_timestamp(value) if isinstance(value, str) else None


def _death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where and why a broker parked the message, the last time it did."""
    deaths = headers.get("x-death")
    first = deaths[0] if isinstance(deaths, list) and deaths else None
    return first if isinstance(first, dict) else {}


def _reason_of(death: Mapping[str, Any], delivery: Delivery) -> str | None:
    if death.get("reason") == "rejected" and delivery.is_too_large:
        return ParkReason.TOO_LARGE
    return _text(death.get("reason"))


def _detail_of(death: Mapping[str, Any]) -> str | None:
    with suppress(KeyError):
        return f"the broker moved it here from {death['queue']} ({death['reason']})"
    return None
