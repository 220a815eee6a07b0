"""Mending a parked message: another body, or another type or organization in its envelope."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from service.core.events.event import CLOUDEVENTS, Event, Rejected, parse_event
from service.core.parked.message import ParkedMessage
from service.core.reason import ParkReason

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Mend:
    """What to change in a message before it is published again; what is None stays as it is."""

    body: bytes | None = None
    event_type: str | None = None
    organization_id: str | None = None


NOTHING = Mend()


def mended(message: ParkedMessage, mend: Mend) -> bytes | Rejected:
    """The body to publish. All but the mended fields keeps its bytes, so that no number changes its notation."""
    body = message.body if mend.body is None else mend.body
    if body is None or (message.is_notice and mend.body is None):
        detail = f"it has {message.body_bytes} bytes" if body is None else "of it only a notice was kept"
        return Rejected(ParkReason.TOO_LARGE, f"{detail}: give a smaller body instead")
    if mend.event_type is None and mend.organization_id is None:
        return body
    try:
        fields = _fields_of.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        return Rejected(ParkReason.BAD_JSON, f"its type or organization cannot be changed: {error}")
    for name, value in (("type", mend.event_type), (_organization_name(fields, message), mend.organization_id)):
        if value is not None:
            fields[name] = msgspec.Raw(msgspec.json.encode(value))
    return msgspec.json.encode(fields)


def judged(message: ParkedMessage, mend: Mend, now: datetime) -> tuple[bytes, Event] | Rejected:
    """The body to publish, and the event that it is; or why it would be parked again at once.

    Whether the organization exists, and what its own event types ask, is seen only when the message is taken in.
    """
    body = mended(message, mend)
    if isinstance(body, Rejected):
        return body
    event = parse_event(body, now, message_id=message.message_id, content_type=message.content_type)
    return event if isinstance(event, Rejected) else (body, event)


def _organization_name(fields: dict[str, msgspec.Raw], message: ParkedMessage) -> str:
    is_cloud_event = (message.content_type or "").partition(";")[0].strip().lower() == CLOUDEVENTS
    return "organizationid" if is_cloud_event and "organization_id" not in fields else "organization_id"
