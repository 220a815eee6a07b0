"""The headers of an attempt that are recorded: what a signature was sent with, and what the receiver answered.

Little is recorded, as it is for every attempt. What follows from the delivery is left out when recording, and added
when showing.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from service.core.deliveries.delivery import DeliveryKey
from service.core.endpoints.auth import EndpointAuth, OAuth2
from service.core.endpoints.url import masked_url
from webhook_signature.sign import HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP

MASK: Final = "***"
REPLY_HEADERS_KEPT_MAX: Final = 16
REPLY_HEADERS_KEPT_BYTES_MAX: Final = 1024
"""Of names and values together, as the receiver sent them."""
NAME_BYTES_MAX: Final = 64
VALUE_BYTES_MAX: Final = 256

# What identifies somebody: cookies, tokens, keys. A name that only sounds like it loses little.
_SECRET: Final = re.compile(rb"cookie|auth|token|secret|key|passw|credential|session|signature", re.IGNORECASE)
_FOLLOWS: Final = (HEADER_ID, HEADER_TIMESTAMP)  # the event's id and the second of the attempt, with HEADER_SIGNATURE

Headers = dict[str, str]


class RecordedHeaders(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What the attempts table keeps, as JSON. The value of a header of the endpoint's own is None: it is a secret."""

    sent: Mapping[str, str | None]
    reply: Headers | None = None

    def write(self) -> str:
        """The text to store."""
        return _encode(self).decode()


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(RecordedHeaders)


def read_headers(text: str) -> RecordedHeaders:
    """What ``write`` wrote; raises ``msgspec.DecodeError`` for anything else."""
    return _decoder.decode(text)


def to_record(signature: Mapping[str, str], own: Mapping[str, str], auth: EndpointAuth | None) -> dict[str, str | None]:
    """What to record of a request: how it is signed, and the names of the endpoint's ``own`` headers."""
    kept: dict[str, str | None] = {name: value for name, value in signature.items() if name not in _FOLLOWS}
    if own:
        kept |= dict.fromkeys(own)
    if isinstance(auth, OAuth2):
        kept["Authorization"] = None
    return kept


def kept_of_reply(raw: Sequence[tuple[bytes, bytes]]) -> Headers:
    """The first of a reply's headers, as far as they are kept; those that appear twice are joined."""
    kept: Headers = {}
    left_bytes = REPLY_HEADERS_KEPT_BYTES_MAX
    for name, value in raw:
        if len(name) > NAME_BYTES_MAX or _SECRET.search(name) is not None:
            continue
        left_bytes -= len(name) + min(len(value), VALUE_BYTES_MAX)
        if left_bytes < 0 or len(kept) >= REPLY_HEADERS_KEPT_MAX:
            break
        shown, text = name.decode(errors="replace"), value[:VALUE_BYTES_MAX].decode(errors="replace")
        if "?" in text:  # a Location often repeats the query of the URL, which may be a token
            text = masked_url(text)
        kept[shown] = f"{kept[shown]}, {text}" if shown in kept else text
    return kept


def event_headers(key: DeliveryKey, event_id: str, event_type: str, attempt_number: int) -> Headers:
    """The headers that describe the event and the attempt, without the signature and the endpoint's own headers."""
    headers = described(event_id, event_type, attempt_number)
    if key.replay_number:
        headers["webhook-replay"] = str(key)
    return headers


def described(event_id: str, event_type: str, attempt_number: int) -> Headers:
    """The headers that describe an event and an attempt to send it."""
    return {
        "Content-Type": "application/json",
        "webhook-attempt": str(attempt_number),
        "X-Event-Type": event_type,
        "X-Event-ID": event_id,
    }


def own_beside(headers: Mapping[str, str], own: Mapping[str, str]) -> Headers:
    """Of an endpoint's ``own`` headers those that may be sent beside ``headers``, whose names are taken."""
    taken = {name.lower() for name in headers}
    return {name: value for name, value in own.items() if name.lower() not in taken}


def shown_as_sent(sent: Mapping[str, str | None], event_id: str, started_at: datetime) -> Headers:
    """The recorded headers of a request, with what was left out, and a mask for each value that is not recorded."""
    shown = {name: MASK if value is None else value for name, value in sent.items()}
    if HEADER_SIGNATURE in sent:
        shown[HEADER_ID] = event_id
        shown[HEADER_TIMESTAMP] = str(int(started_at.timestamp()))
    return shown
