"""The registry of event types: what ``data`` must carry for each. A new type is one entry here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import msgspec
from msgspec import Struct


class Party(Struct):
    """A sender or recipient."""

    urn: str | None = None
    address: str | None = None
    name: str | None = None


class Reaction(Struct):
    """A tapback on a message."""

    type: Literal["heart", "up", "down", "ha", "exclamation", "question"]
    at: str | None = None
    from_urn: str | None = None


class Attachment(Struct):
    """A media file sent along."""

    url: str | None = None
    content_type: str | None = None
    name: str | None = None


class Message(Struct, rename={"from_": "from"}):
    """The text itself, as the platform knows it."""

    id: str | None = None
    external_id: str | None = None
    direction: Literal["outbound", "inbound"] | None = None
    status: Literal["queued", "sent", "delivered", "read", "failed", "received"] | None = None
    protocol: Literal["sms", "mms", "rcs", "imessage", "whatsapp", "unknown"] | None = None
    text: str | None = None
    attachments: list[Attachment] | None = None
    effect: str | None = None
    segments: int | None = None
    from_: Party | None = None
    to: Party | None = None
    submitted_at: str | None = None
    sent_at: str | None = None
    delivered_at: str | None = None
    read_at: str | None = None
    failed_at: str | None = None
    received_at: str | None = None
    reactions: list[Reaction] | None = None
    metadata: dict[str, Any] | None = None


class DeliveryError(Struct):
    """Why the carrier or the platform could not deliver."""

    code: str | int | None = None
    message: str | None = None
    carrier_code: str | int | None = None
    retryable: bool | None = None


class Link(Struct):
    """A tracked link."""

    id: str | None = None
    url: str | None = None
    short_url: str | None = None
    domain: str | None = None


class Click(Struct):
    """One visit of a tracked link."""

    id: str | None = None
    clicked_at: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    is_bot: bool | None = None
    count: int | None = None


class Data(Struct):
    """The documented keys of ``data``; others pass unread."""

    message: Message | None = None
    error: DeliveryError | None = None
    link: Link | None = None
    click: Click | None = None


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with ``data``, and which field it is."""

    field: str
    detail: str


@dataclass(frozen=True, slots=True)
class EventType:
    """What must hold of ``data``: paths that are not null, paths with one of a few values, and one rule of its own."""

    name: str
    required: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]
    rule: Callable[[Data], Complaint | None] | None = None


def _has_content(data: Data) -> Complaint | None:
    message = data.message
    if message and (message.text or message.attachments or message.reactions):
        return None
    return Complaint("data.message.text", "a reply needs text, an attachment or a reaction")


REGISTRY: Mapping[str, EventType] = {
    kind.name: kind
    for kind in (
        EventType(
            "message.sent",
            ("message.id", "message.to.urn", "message.sent_at"),
            {"message.direction": ("outbound",), "message.status": ("sent",)},
        ),
        EventType(
            "message.delivered",
            ("message.id", "message.to.urn", "message.delivered_at"),
            {"message.status": ("delivered", "read")},
        ),
        EventType(
            "message.failed",
            ("message.id", "message.failed_at", "error.code", "error.message"),
            {"message.status": ("failed",)},
        ),
        EventType(
            "message.replied",
            ("message.id", "message.from.urn", "message.received_at"),
            {"message.direction": ("inbound",), "message.status": ("received",)},
            _has_content,
        ),
        EventType("link.clicked", ("message.id", "link.url", "click.id", "click.clicked_at"), {}),
    )
}

_decode = msgspec.json.Decoder(Data).decode


def _getter(path: str) -> Callable[[Data], object]:
    get = attrgetter(path.replace("from", "from_"))

    def value_at(data: Data) -> object:
        try:
            return get(data)
        except AttributeError:  # something on the way is null
            return None

    return value_at


_CHECKS = {
    kind.name: (
        tuple((path, _getter(path)) for path in kind.required),
        tuple((path, _getter(path), values) for path, values in kind.values.items()),
        kind.rule,
    )
    for kind in REGISTRY.values()
}


def check_data(event_type: str, data: bytes) -> Complaint | None:
    """What is wrong with the ``data`` of a registered ``event_type``; None when nothing is."""
    try:
        decoded = _decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        what, _, where = str(error).partition(" - at `$")
        return Complaint(f"data{where.rstrip('`')}", what)
    required, values, rule = _CHECKS[event_type]
    for path, get in required:
        if get(decoded) in (None, ""):
            return Complaint(f"data.{path}", f"{event_type} needs a value here")
    for path, get, allowed in values:
        if get(decoded) not in allowed:
            return Complaint(f"data.{path}", f"{event_type} needs {' or '.join(map(repr, allowed))} here")
    return rule(decoded) if rule else None
