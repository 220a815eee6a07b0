"""The documented keys of ``data`` and their types. Other keys pass through unread."""

from datetime import datetime
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

METADATA_MAX: Final = 16
_METADATA: Final = Meta(max_length=METADATA_MAX, description=f"The producer's own texts, at most {METADATA_MAX}.")
_URN: Final = Meta(
    description="`tel:+` and E.164, `mailto:`, and so on. Digits without a `+`, which no country can be told of, are "
    "delivered as `ext:` and the digits."
)
Urn = Annotated[str, _URN]
_AT: Final = Meta(tz=True, description="With an offset, such as `2026-11-20T18:25:35Z`.")


class PartyData(Struct):
    """A sender or recipient."""

    urn: Urn | None = None
    address: str | None = None
    name: str | None = None


class ReactionData(Struct):
    """A tapback on a message."""

    type: Literal["heart", "up", "down", "ha", "exclamation", "question"]
    at: Annotated[datetime, _AT] | None = None
    from_urn: Urn | None = None


class AttachmentData(Struct):
    """A media file sent with a message."""

    url: str | None = None
    content_type: str | None = None
    name: str | None = None


class MessageData(Struct, rename={"from_": "from"}):
    """The message itself, as the platform knows it."""

    id: str | None = None
    external_id: str | None = None
    direction: Literal["outbound", "inbound"] | None = None
    status: Literal["queued", "sent", "delivered", "read", "failed", "received"] | None = None
    protocol: Literal["sms", "mms", "rcs", "imessage", "whatsapp", "unknown"] | None = None
    text: str | None = None
    attachments: list[AttachmentData] | None = None
    effect: str | None = None
    segments: int | None = None
    from_: PartyData | None = None
    to: PartyData | None = None
    submitted_at: str | None = None
    sent_at: str | None = None
    delivered_at: str | None = None
    read_at: str | None = None
    failed_at: str | None = None
    received_at: str | None = None
    reactions: list[ReactionData] | None = None
    metadata: Annotated[dict[str, str], _METADATA] | None = None


class ErrorData(Struct):
    """Why the carrier or the platform could not deliver."""

    code: str | int | None = None
    message: str | None = None
    carrier_code: str | int | None = None
    retryable: bool | None = None


class LinkData(Struct):
    """A tracked link."""

    id: str | None = None
    url: str | None = None
    short_url: str | None = None
    domain: str | None = None


class ClickData(Struct):
    """One visit of a tracked link."""

    id: str | None = None
    clicked_at: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    is_bot: bool | None = None
    count: int | None = None


class ReplyToData(Struct):
    """Which message a reply answers."""

    message_id: str | None = None


class Data(Struct):
    """The documented keys of ``data``; other keys pass through unread."""

    message: MessageData | None = None
    error: ErrorData | None = None
    reply_to: ReplyToData | None = None
    link: LinkData | None = None
    click: ClickData | None = None
