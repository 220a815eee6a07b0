"""Frames on the socket, and the two kinds of client errors.

As in RabbitMQ, what a producer writes into a message is not looked at: properties and routing keys may be any bytes.
"""

import asyncio
import struct
from dataclasses import dataclass
from typing import Final

import pamqp.frame
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.constants import FRAME_END, FRAME_HEADER, FRAME_METHOD
from pamqp.frame import FrameTypes

FRAME_BYTES_MAX: Final = 131072
FRAME_OVERHEAD_BYTES: Final = 8
PREAMBLE: Final = b"AMQP\x00\x00\x09\x01"
BASIC_PUBLISH: Final = b"\x00\x3c\x00\x28"
BASIC_DELIVER: Final = b"\x00\x3c\x00\x3c"
ANY_BYTES: Final = "surrogateescape"


class ConnectionFault(Exception):  # noqa: N818 - AMQP's term
    """The client broke the protocol: the connection is closed with this code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class ChannelFault(Exception):  # noqa: N818
    """The client asked for something impossible: its channel is closed with this code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """The header of a message: the length of its body, and its properties as they were sent."""

    body_size: int
    properties: bytes
    name = "ContentHeader"


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, FrameTypes | MessageHeader]:
    """Return the next frame and its channel. Raises ``IncompleteReadError`` at the end, ``ConnectionFault``."""
    head = await reader.readexactly(7)
    (size,) = struct.unpack(">I", head[3:])
    if size + FRAME_OVERHEAD_BYTES > FRAME_BYTES_MAX:
        raise ConnectionFault(501, f"FRAME_ERROR - frame of {size} bytes; at most {FRAME_BYTES_MAX} were agreed")
    rest = await reader.readexactly(size + 1)
    if rest[-1] != FRAME_END:
        raise ConnectionFault(501, "FRAME_ERROR - the frame has no end")
    kind, channel_number = struct.unpack_from(">BH", head)
    payload = rest[:-1]
    try:
        if kind == FRAME_HEADER:
            (body_size,) = struct.unpack_from(">Q", payload, 4)
            return channel_number, MessageHeader(body_size, payload[12:])
        if kind == FRAME_METHOD and payload.startswith(BASIC_PUBLISH):
            return channel_number, _publish(payload)
    except (struct.error, IndexError) as error:
        raise ConnectionFault(502, f"SYNTAX_ERROR - {error}") from error
    _, channel_number, frame = pamqp.frame.unmarshal(head + rest)
    return channel_number, frame


def _publish(payload: bytes) -> Basic.Publish:
    exchange_end = 7 + payload[6]  # after the method's number and a reserved one
    key_end = exchange_end + 1 + payload[exchange_end]
    flags = payload[key_end]
    return Basic.Publish(
        exchange=payload[7:exchange_end].decode(errors=ANY_BYTES),
        routing_key=payload[exchange_end + 1 : key_end].decode(errors=ANY_BYTES),
        mandatory=bool(flags & 1),
        immediate=bool(flags & 2),
    )


def deliver_bytes(frame: Basic.Deliver) -> bytes:
    """Encode the method that announces a message, whatever its routing key is."""
    names = [(name or "").encode(errors=ANY_BYTES) for name in (frame.consumer_tag, frame.exchange, frame.routing_key)]
    tag, exchange, routing_key = (bytes([len(name)]) + name for name in names)
    number = struct.pack(">QB", frame.delivery_tag, bool(frame.redelivered))
    return BASIC_DELIVER + tag + number + exchange + routing_key


def content_bytes(channel_number: int, method: Frame, properties: bytes, body: bytes) -> bytes:
    """Encode a method that carries a message: the method, the header, and the body in as many frames as needed."""
    piece = FRAME_BYTES_MAX - FRAME_OVERHEAD_BYTES
    if isinstance(method, Basic.Deliver):
        frames = [_frame(FRAME_METHOD, channel_number, deliver_bytes(method))]
    else:
        frames = [pamqp.frame.marshal(method, channel_number)]
    header = struct.pack(">HHQ", Basic.frame_id, 0, len(body)) + properties
    frames.append(_frame(FRAME_HEADER, channel_number, header))
    frames += [
        pamqp.frame.marshal(ContentBody(body[at : at + piece]), channel_number) for at in range(0, len(body), piece)
    ]
    return b"".join(frames)


def _frame(kind: int, channel_number: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel_number, len(payload)) + payload + bytes([FRAME_END])
