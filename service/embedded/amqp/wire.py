"""Frames on the socket, and the two kinds of client errors."""

import asyncio
import struct
from typing import Final

import pamqp.frame
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.constants import FRAME_END
from pamqp.frame import FrameTypes
from pamqp.header import ContentHeader

FRAME_BYTES_MAX: Final = 131072
FRAME_OVERHEAD_BYTES: Final = 8
PREAMBLE: Final = b"AMQP\x00\x00\x09\x01"


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


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, FrameTypes]:
    """Return the next frame and its channel. Raises ``IncompleteReadError`` at the end, ``ConnectionFault``."""
    head = await reader.readexactly(7)
    (size,) = struct.unpack(">I", head[3:])
    if size + FRAME_OVERHEAD_BYTES > FRAME_BYTES_MAX:
        raise ConnectionFault(501, f"FRAME_ERROR - frame of {size} bytes; at most {FRAME_BYTES_MAX} were agreed")
    rest = await reader.readexactly(size + 1)
    if rest[-1] != FRAME_END:
        raise ConnectionFault(501, "FRAME_ERROR - the frame has no end")
    _, channel_number, frame = pamqp.frame.unmarshal(head + rest)
    return channel_number, frame


def content_bytes(channel_number: int, method: Frame, properties: Basic.Properties, body: bytes) -> bytes:
    """Encode a method that carries a message: the method, the header, and the body in as many frames as needed."""
    piece = FRAME_BYTES_MAX - FRAME_OVERHEAD_BYTES
    frames: list[FrameTypes] = [method, ContentHeader(body_size=len(body), properties=properties)]
    frames += [ContentBody(body[at : at + piece]) for at in range(0, len(body), piece)]
    return b"".join(pamqp.frame.marshal(frame, channel_number) for frame in frames)
