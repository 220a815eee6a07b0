"""Broker messages as bytes: events of any size, and messages that a consumer can choke on.

A consumer's library decodes the properties of a message before its program sees the message. Ours are written out by
hand, since a library refuses to encode what it cannot decode.
"""

import re
import struct
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from types import MappingProxyType

from pamqp import body, commands, frame
from pamqp.constants import FRAME_END

from bench.publisher import EVENT_TYPE, PERSISTENT, Wire, event_id
from service.core.events.sample import sample_event

FRAME_BYTES_MAX = 131_072 - 8  # without the frame's own eight bytes
TABLES_DEEP = 2_000
NOT_UTF8 = b"\xff\xfe\xfd"
CHANNEL = 1
_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _MESSAGE_ID = 1 << 15, 1 << 13, 1 << 12, 1 << 7
_BASIC = 60
_GET_EMPTY = struct.pack(">HH", _BASIC, 72)
_REASON = re.compile(rb"(?:x-posthorn-reason|x-first-death-reason)S(.{4})", re.DOTALL)


def _short(text: bytes) -> bytes:
    return len(text).to_bytes(1) + text


def _table(*fields: bytes) -> bytes:
    together = b"".join(fields)
    return len(together).to_bytes(4) + together


def _nested(depth: int) -> bytes:
    table = _table()
    for _ in range(depth):
        table = _table(_short(b"a"), b"F", table)
    return table


POISON: Mapping[str, Mapping[str, bytes]] = MappingProxyType(
    {
        "message_id": {"message_id": NOT_UTF8},
        "content_type": {"content_type": NOT_UTF8},
        "header_key": {"headers": _table(_short(NOT_UTF8), b"t\1")},
        "routing_key": {"routing_key": b"message." + NOT_UTF8},
        "nested_headers": {"headers": _nested(TABLES_DEEP)},
    }
)
"""Properties that are not what they should be, by kind. Everything else about such a message is right."""


def message(
    exchange: str,
    content: bytes,
    *,
    message_id: bytes,
    content_type: bytes = b"application/json",
    headers: bytes = _table(),
    routing_key: bytes = EVENT_TYPE.encode(),
) -> bytes:
    """All frames of a message."""
    publish = struct.pack(">HHH", _BASIC, 40, 0) + _short(exchange.encode()) + _short(routing_key) + b"\1"  # mandatory
    flags = _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _MESSAGE_ID
    properties = _short(content_type) + headers + PERSISTENT.to_bytes(1) + _short(message_id)
    head = struct.pack(">HHQH", _BASIC, 0, len(content), flags) + properties
    parts = (content[start : start + FRAME_BYTES_MAX] for start in range(0, len(content), FRAME_BYTES_MAX))
    bodies = b"".join(frame.marshal(body.ContentBody(part), CHANNEL) for part in parts)
    return _frame(1, publish) + _frame(2, head) + bodies


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, CHANNEL, len(payload)) + payload + FRAME_END.to_bytes(1)


def event_message(exchange: str, number: int, organization: str, *, size_bytes: int = 0, poison: str = "") -> bytes:
    """An event as a message; a padding makes it as large as is wanted, ``poison`` gives it a property of that kind."""
    name = event_id(number)
    event = sample_event(EVENT_TYPE, organization, event_id=name, number=number, now=datetime.now(UTC))
    missing = size_bytes - len(event)
    if missing > 0:
        event = event.replace(b'"metadata":{', b'"metadata":{"padding":"%b",' % (b"x" * missing), 1)
    return message(exchange, event, **{"message_id": name.encode(), **(POISON[poison] if poison else {})})


def parked_reasons(amqp_url: str, queue: str) -> Mapping[str, int]:
    """Why messages were parked, by our reason or the broker's, and how many; this empties the queue."""
    found = Counter[str]()
    with closing(Wire(amqp_url)) as wire:
        while wire.ask_for_frame(commands.Basic.Get(queue=queue, no_ack=True))[7:11] != _GET_EMPTY:
            head = wire.next_frame()
            waiting = int.from_bytes(head[11:19])
            while waiting > 0:
                waiting -= len(wire.next_frame()) - 8
            named = _REASON.search(head)
            found[head[named.end() :][: int.from_bytes(named[1])].decode() if named else "none"] += 1
    return dict(found)
