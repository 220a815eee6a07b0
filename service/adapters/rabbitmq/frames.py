"""What stands between the socket and aiormq: it keeps the messages, and passes every other frame on.

aiormq decodes all properties of a message before it hands it over, and closes the connection when it cannot. Whoever
may publish could stop the intake of all organizations with one message.
"""

import asyncio
from struct import Struct
from typing import Final

from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import ProtocolSyntaxError
from yarl import URL

from service.adapters.rabbitmq.delivery import Messages

FRAME_BYTES_MAX: Final = 131_072
"""What RabbitMQ proposes. A broker that allows more is asked for this."""
ODD_FRAME_BYTES_MAX: Final = 1024 * 1024
"""What is read all the same: RabbitMQ adds headers to a message, such as x-delivery-count when it sends it again, and
then sends more than was agreed."""
READ_BYTES: Final = 65_536
FRAME_END: Final = 0xCE
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
SIGN_OF_LIFE_SECONDS: Final = 1.0

_head = Struct(">BHI")


class FrameReader:
    """Reads frames from the socket; to aiormq it is the socket's reader, which has no messages in it."""

    def __init__(self, reader: asyncio.StreamReader, messages: Messages) -> None:
        self._reader = reader
        self._messages = messages
        self._arrived = bytearray()
        self._passed = bytearray()
        self._passed_at = 0.0
        self._has_taken = False

    async def readexactly(self, count: int) -> bytes:
        """Return the next bytes for aiormq. Raises ``IncompleteReadError`` at the end, ``ProtocolSyntaxError``."""
        while len(self._passed) < count:
            chunk = await self._reader.read(READ_BYTES)
            if not chunk:
                raise asyncio.IncompleteReadError(bytes(self._passed), count)
            self._arrived += chunk
            self._sort()
            self._show_life()
        asked = bytes(self._passed[:count])
        del self._passed[:count]
        return asked

    def at_eof(self) -> bool:
        """Whether nothing can be read any more."""
        return not self._passed and self._reader.at_eof()

    def _sort(self) -> None:
        """Go through all frames that are whole."""
        arrived, at = self._arrived, 0
        while len(arrived) - at >= _head.size:
            kind, channel, size = _head.unpack_from(arrived, at)
            end = at + _head.size + size
            if size > ODD_FRAME_BYTES_MAX:  # "AMQP", which refuses our version, is large in this sense too
                raise ProtocolSyntaxError(f"a frame of {size} bytes; at most {FRAME_BYTES_MAX} were agreed")
            if end >= len(arrived):
                break
            if arrived[end] != FRAME_END:
                raise ProtocolSyntaxError("a frame without its end")
            if self._messages.take(kind, channel, bytes(arrived[at + _head.size : end])):
                self._has_taken = True
            else:
                self._passed += arrived[at : end + 1]
            at = end + 1
        del arrived[:at]

    def _show_life(self) -> None:
        """Give aiormq a heartbeat now and then while messages keep coming: the broker sends none meanwhile.

        aiormq takes a connection for dead when it sees no frame for some heartbeats.
        """
        now = asyncio.get_running_loop().time()
        if self._has_taken and not self._passed and now - self._passed_at > SIGN_OF_LIFE_SECONDS:
            self._passed += HEARTBEAT
            self._has_taken = False
        if self._passed:
            self._passed_at = now


class MessagesKept(TransportFactory):
    """Opens connections whose messages go to ``messages``."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    async def create(self, url: URL, **options: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect as aiormq does."""
        transport = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, writer = await transport.create(url, **options)
        return FrameReader(reader, self._messages), writer  # type: ignore[return-value] # what aiormq uses of it
