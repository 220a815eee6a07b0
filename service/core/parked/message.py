"""A parked message, as a person sees it."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec

from service.core.events.event import BODY_BYTES_MAX, DEPTH_MAX, depth_of

TEXT_CHARACTERS_MAX: Final = 256
"""Of a field of the body that is shown beside a message. What is longer was never a valid id or type."""

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a body says of itself, as far as it can be read. Nothing of it was checked."""

    event_id: str | None = None
    event_type: str | None = None
    organization_id: str | None = None


def claims_of(body: bytes | None) -> Claims:
    """Read the envelope of a body that is no valid event. Never raises."""
    if body is None or len(body) > BODY_BYTES_MAX:
        return Claims()
    try:
        fields = _fields_of.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return Claims()
    organization_id = _text_in(fields, "organization_id") or _text_in(fields, "organizationid")
    return Claims(_text_in(fields, "id"), _text_in(fields, "type"), organization_id)


def _text_in(fields: Mapping[str, msgspec.Raw], name: str) -> str | None:
    try:
        return _text.decode(fields[name])[:TEXT_CHARACTERS_MAX] if name in fields else None
    except (msgspec.DecodeError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class ParkedMessage:
    """One message of the parked queue.

    ``id`` is made of what the message consists of, so it stays the same wherever in the queue the message is. Messages
    that are the same byte for byte have one id, and then it makes no difference which of them is taken.

    ``body`` is None if it is longer than the reader asked for; ``body_bytes`` is its true length. A notice stands for
    a message that was too large to be held, and has no body of its own.
    """

    id: str
    reason: str | None
    detail: str | None
    parked_at: datetime | None
    exchange: str | None
    routing_key: str | None
    properties: Mapping[str, Any]
    headers: Mapping[str, Any]
    body_bytes: int
    body: bytes | None
    claims: Claims
    is_notice: bool = False

    @property
    def message_id(self) -> str | None:
        """The broker's id of the message, which is the event's id if the body has none."""
        return self.properties.get("message_id")

    @property
    def content_type(self) -> str | None:
        """What the producer says the body is."""
        return self.properties.get("content_type")

    def with_body_up_to(self, bytes_max: int) -> "ParkedMessage":
        """The same without a body that is longer."""
        return self if self.body is None or self.body_bytes <= bytes_max else replace(self, body=None)


@dataclass(frozen=True, slots=True)
class ParkedFilter:
    """Which messages are meant: all that is given must hold; nothing given means all of them."""

    ids: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()

    def takes(self, message: ParkedMessage) -> bool:
        """Whether the message is one of them."""
        return (not self.ids or message.id in self.ids) and (not self.reasons or (message.reason or "") in self.reasons)


def readable(body: bytes, characters_max: int) -> tuple[str | None, bool]:
    """The body as text, laid out if it is JSON, and whether something was left off; None if it is not text."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None, False
    if len(body) <= BODY_BYTES_MAX and depth_of(body) <= DEPTH_MAX:  # else white space could be nearly all of it
        with suppress(msgspec.DecodeError):
            text = msgspec.json.format(body, indent=2).decode()  # keeps numbers as they are written
    return text[:characters_max], len(text) > characters_max


def written(value: object) -> str:
    """A property or a header as text, on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
