"""A producer that writes its frames by hand, and so can write what no library would."""

import asyncio
import struct
from dataclasses import dataclass
from typing import Self

from pamqp import commands, frame
from pamqp.exceptions import PAMQPException
from yarl import URL

METHOD, HEADER, BODY = 1, 2, 3
PIECE_BYTES = 131_000


def raw_frame(kind: int, payload: bytes, channel: int = 1) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def short(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def table(*entries: bytes) -> bytes:
    joined = b"".join(entries)
    return struct.pack(">I", len(joined)) + joined


def entry(name: bytes, kind: bytes, value: bytes) -> bytes:
    return short(name) + kind + value


def nested(depth: int) -> bytes:
    """A table in a table, this deep."""
    inner = table()
    for _ in range(depth - 1):
        inner = table(entry(b"t", b"F", inner))
    return inner


def properties(flags: int, *values: bytes) -> bytes:
    return struct.pack(">H", flags) + b"".join(values)


def headers(*entries: bytes) -> bytes:
    return properties(0x2000, table(*entries))


HOSTILE = {  # routing keys and properties that RabbitMQ lets through
    "message id": (b"message.sent", properties(0x0080, short(b"\xff\xfe"))),
    "content type": (b"message.sent", properties(0x8000, short(b"\xff"))),
    "app id": (b"message.sent", properties(0x0008, short(b"\xc3"))),
    "header": (b"message.sent", headers(entry(b"\xff", b"V", b""))),
    "deep header": (b"message.sent", headers(entry(b"a", b"A", table(b"F" + table(entry(b"\xff", b"V", b"")))))),
    "nested": (b"message.sent", properties(0x2000, nested(2_000))),
    "many headers": (b"message.sent", headers(*[entry(b"", b"V", b"")] * 20_000)),
    "routing key": (b"message.\xff", properties(0)),
}


@dataclass
class Refused:
    """The broker closed the channel or the connection; the producer has to begin again."""

    text: str


class RawProducer:
    """``async with RawProducer(url) as producer:``."""

    def __init__(self, url: str) -> None:
        self._url = URL(url)

    async def publish(
        self, exchange: str, routing_key: bytes, properties: bytes, body: bytes, *, body_size: int | None = None
    ) -> Refused | None:
        """Publish a message with these flags and values; None once the broker has confirmed it."""
        publish = struct.pack(">HHH", 60, 40, 0) + short(exchange.encode()) + short(routing_key) + b"\x00"
        size = len(body) if body_size is None else body_size
        self._writer.write(
            raw_frame(METHOD, publish)
            + raw_frame(HEADER, struct.pack(">HHQ", 60, 0, size) + properties)
            + b"".join(raw_frame(BODY, body[at : at + PIECE_BYTES]) for at in range(0, len(body), PIECE_BYTES))
        )
        answer = await self._answer()
        return None if isinstance(answer, commands.Basic.Ack) else Refused(str(getattr(answer, "reply_text", answer)))

    async def _answer(self) -> object:
        try:
            head = await self._reader.readexactly(7)
            rest = await self._reader.readexactly(struct.unpack(">I", head[3:])[0] + 1)
            return frame.unmarshal(head + rest)[2]
        except (asyncio.IncompleteReadError, OSError, PAMQPException) as error:  # a refusal may quote our bytes
            return error

    async def _ask(self, request: object, channel: int = 0) -> None:
        self._writer.write(frame.marshal(request, channel))  # type: ignore[arg-type]
        await self._answer()

    async def __aenter__(self) -> Self:
        url = self._url
        self._reader, self._writer = await asyncio.open_connection(url.host, url.port or 5672)
        self._writer.write(b"AMQP\x00\x00\x09\x01")
        await self._answer()
        login = f"\x00{url.user}\x00{url.password}"
        await self._ask(commands.Connection.StartOk(client_properties={}, mechanism="PLAIN", response=login))
        self._writer.write(frame.marshal(commands.Connection.TuneOk(10, 131_072, 0), 0))
        await self._ask(commands.Connection.Open(virtual_host=url.path.removeprefix("/") or "/"))
        await self._ask(commands.Channel.Open(), 1)
        await self._ask(commands.Confirm.Select(), 1)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
