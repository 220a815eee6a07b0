"""The listening side: connections, their life cycle, and the faults that a test can cause."""

import asyncio
import ipaddress
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import pamqp.frame
from pamqp.base import Frame
from pamqp.commands import Channel as Method
from pamqp.commands import Connection as Conversation
from pamqp.common import FieldTable
from pamqp.exceptions import PAMQPException
from pamqp.frame import FrameTypes
from pamqp.heartbeat import Heartbeat

from service.embedded.amqp.channel import Channel
from service.embedded.amqp.routing import Routes
from service.embedded.amqp.wire import (
    FRAME_BYTES_MAX,
    PREAMBLE,
    ChannelFault,
    ConnectionFault,
    MessageHeader,
    read_frame,
)

CAPABILITIES: Final = ("publisher_confirms", "basic.nack", "consumer_cancel_notify", "authentication_failure_close")
CHANNELS_MAX: Final = 2047


class LoopbackBroker:
    """``async with LoopbackBroker() as broker:`` and connect to ``broker.url``. Port 0 means any free one."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"{host} is not a loopback address; this endpoint only serves this machine")
        self._host = host
        self._port = port
        self._routes = Routes()
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The URL to connect to. Any user and password are accepted."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"amqp://guest:guest@{host}:{self._port}/"

    async def start(self) -> None:
        """Listen. Raises OSError if the port is taken."""
        self._server = await asyncio.start_server(self._accept, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drop every connection and stop listening. The messages stay as long as this object."""
        if self._server is not None:
            self._server.close()
        serving = list(self._connections.values())
        self.drop_connections()
        await asyncio.gather(*serving, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def queue_depth(self, name: str) -> int:
        """How many messages wait in the queue, not counting those delivered and unacked. Raises KeyError."""
        return self._routes.queues[name].depth

    def drop_connections(self) -> None:
        """Drop every connection without notice, as after a crash or a cut cable. Unacked messages are requeued."""
        for connection in list(self._connections):
            connection.drop()

    def forget_consumers(self) -> None:
        """Drop every consumer without notice: the state that a client's watchdog detects."""
        for queue in self._routes.queues.values():
            queue.consumers.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer, self._routes)
        self._connections[connection] = asyncio.create_task(self._serve(connection))

    async def _serve(self, connection: "_Connection") -> None:
        try:
            await connection.serve()
        finally:
            del self._connections[connection]
            await connection.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()


class _Connection:
    """One client. A channel that is None was closed by this server, but the client has not confirmed that yet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, routes: Routes) -> None:
        self._reader = reader
        self._writer = writer
        self._routes = routes
        self._channels: dict[int, Channel | None] = {}

    async def serve(self) -> None:
        """Handle frames until one side closes the connection."""
        with suppress(asyncio.IncompleteReadError, OSError):  # disconnecting without a close is fine
            try:
                await self._greet()
                while await self._handle(*await read_frame(self._reader)):
                    await self._writer.drain()
            except ConnectionFault as fault:
                self._send(0, Conversation.Close(fault.code, fault.text, 0, 0))
            except PAMQPException as error:
                self._send(0, Conversation.Close(502, f"SYNTAX_ERROR - {error}", 0, 0))
            await self._writer.drain()

    def drop(self) -> None:
        """Drop the connection without notice."""
        self._close_channels()
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close the connection."""
        self._close_channels()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    def _close_channels(self) -> None:
        """Requeue unacked messages, and delete the client's exclusive queues."""
        channels = [channel for channel in self._channels.values() if channel is not None]
        self._channels.clear()
        for channel in channels:
            channel.close()
        for channel in channels:
            for queue in channel.exclusive_queues:
                self._routes.delete_queue(queue)

    async def _greet(self) -> None:
        if await self._reader.readexactly(len(PREAMBLE)) != PREAMBLE:
            self._writer.write(PREAMBLE)  # the protocol's answer to an unsupported version
            raise ConnectionResetError
        capabilities: FieldTable = dict.fromkeys(CAPABILITIES, True)
        properties: FieldTable = {"product": "Posthorn loopback endpoint", "capabilities": capabilities}
        self._send(0, Conversation.Start(server_properties=properties))
        await self._expect(Conversation.StartOk)
        self._send(0, Conversation.Tune(CHANNELS_MAX, FRAME_BYTES_MAX, 0))
        await self._expect(Conversation.TuneOk)
        await self._expect(Conversation.Open)
        self._send(0, Conversation.OpenOk())

    async def _expect(self, kind: type[Frame]) -> None:
        _, frame = await read_frame(self._reader)
        if not isinstance(frame, kind):
            raise ConnectionFault(503, f"COMMAND_INVALID - expected {kind.name}, got {frame.name}")

    async def _handle(self, number: int, frame: FrameTypes | MessageHeader) -> bool:
        """Answer a frame; returns False when the connection is over."""
        match frame:
            case Heartbeat():
                self._writer.write(
                    Heartbeat.marshal()
                )  # the client sends heartbeats in time, so echoing them is enough
            case Conversation.Close():
                self._send(0, Conversation.CloseOk())
                return False
            case Conversation.CloseOk():
                return False
            case Method.Open() if number not in self._channels:
                self._channels[number] = Channel(number, self._routes, self._writer.write, self)
                self._send(number, Method.OpenOk())
            case Method.Close():
                self._close_channel(number)
                self._channels.pop(number, None)
                self._send(number, Method.CloseOk())
            case Method.CloseOk():
                self._channels.pop(number, None)
            case _ if number in self._channels:
                self._pass_on(number, frame)
            case _:
                raise ConnectionFault(504, f"CHANNEL_ERROR - {frame.name} on channel {number}")
        return True

    def _pass_on(self, number: int, frame: FrameTypes | MessageHeader) -> None:
        channel = self._channels[number]
        if channel is None:
            return
        try:
            channel.handle(frame)
        except ChannelFault as fault:
            self._close_channel(number)
            self._send(number, Method.Close(fault.code, fault.text, 0, 0))

    def _close_channel(self, number: int) -> None:
        channel, self._channels[number] = self._channels.get(number), None
        if channel is not None:
            channel.close()

    def _send(self, number: int, frame: Frame) -> None:
        self._writer.write(pamqp.frame.marshal(frame, number))
