"""Clients of ``GET /v1/stream`` that remember what they were told of, and come back with their last id when cut off."""

import asyncio
import socket
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress

ATTEMPTS_MAX = 1_000
"""An event's attempts are numbered below this: what was told is remembered as one integer."""
PIECE_BYTES = 1 << 18
SLOW_BYTES = 1 << 16
BACK_SECONDS = 0.2
EVENT_ID = b"evt_bench_"
DIGITS = 10


def of_event(number: int) -> int:
    """What is remembered of an event."""
    return number * ATTEMPTS_MAX


def of_attempt(number: int, attempt: int) -> int:
    """What is remembered of the attempt of an event's only delivery."""
    return number * ATTEMPTS_MAX + attempt


class Listener:
    """One stream, and those that follow it with its last id."""

    def __init__(self, organization: str, key: str) -> None:
        self.organization = organization
        self._key = key
        self._cursor = b""
        self._rest = b""
        self.told: set[int] = set()
        self.repeated = 0
        self.kinds: Counter[bytes] = Counter()
        self.opened = 0

    def request(self) -> bytes:
        """The head of a request that goes on where this listener is."""
        resumed = b"Last-Event-ID: %b\r\n" % self._cursor if self._cursor else b""
        return b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %b\r\n%b\r\n" % (self._key.encode(), resumed)

    async def listen(self, ports: "Ports", opened: asyncio.Event) -> None:
        """Listen, and come back after each end, until this is cancelled. ``opened`` is set when the first is open."""
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", ports.http, limit=PIECE_BYTES)
                try:
                    writer.write(self.request())
                    head = await reader.readuntil(b"\r\n\r\n")
                    if head.startswith(b"HTTP/1.1 200 "):
                        self.opened += 1
                        opened.set()
                        await self._take(reader)
                finally:
                    writer.close()
            await asyncio.sleep(BACK_SECONDS)

    async def _take(self, reader: asyncio.StreamReader) -> None:
        self._rest = b""
        while piece := await reader.read(PIECE_BYTES):
            *blocks, self._rest = (self._rest + piece).split(b"\n\n")
            for block in blocks:
                self._remember(block)

    def _remember(self, block: bytes) -> None:
        """One message, maybe after the head of a chunk; its data is on one line, the last."""
        head, _, data = block.partition(b"\ndata: ")
        fields = dict(line.partition(b": ")[::2] for line in head.split(b"\n"))
        kind = fields.get(b"event", b"")
        if kind in {b"event", b"attempt"}:
            at = data.index(EVENT_ID) + len(EVENT_ID)
            number = int(data[at : at + DIGITS])
            attempt = int(data.partition(b'"number":')[2].partition(b",")[0]) if kind == b"attempt" else 0
            told = of_attempt(number, attempt)
            self.repeated += told in self.told
            self.told.add(told)
        if kind:
            self.kinds[kind] += 1
        self._cursor = fields.get(b"id", self._cursor)


class Ports:
    """Where the API listens now: it may come back elsewhere."""

    def __init__(self, http: int) -> None:
        self.http = http


class Listeners:
    """All of them, in this process, and one whose client takes nothing."""

    def __init__(self, port: int, keys: Mapping[str, str], of_key: int, slow: tuple[str, str]) -> None:
        """``keys`` by organization, with ``of_key`` streams each; ``slow`` is the organization and key of the slow."""
        self.ports = Ports(port)
        self.all = [Listener(organization, key) for organization, key in keys.items() for _ in range(of_key)]
        self._slow = Listener(*slow)
        self._slow_writer: asyncio.StreamWriter | None = None
        self._listening: list[asyncio.Task[None]] = []

    async def come(self) -> None:
        """Open them; returns when all are open."""
        await self._open_slow()
        opened = [asyncio.Event() for _ in self.all]
        self._listening = [
            asyncio.create_task(each.listen(self.ports, its)) for each, its in zip(self.all, opened, strict=True)
        ]
        await asyncio.gather(*(each.wait() for each in opened))

    async def _open_slow(self) -> None:
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BYTES)
        narrow.setblocking(False)  # noqa: FBT003 - its only parameter
        await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", self.ports.http))
        reader, self._slow_writer = await asyncio.open_connection(sock=narrow, limit=SLOW_BYTES)
        self._slow_writer.write(self._slow.request())
        await reader.readuntil(b"\r\n\r\n")

    async def back(self, times: int, seconds: float) -> None:
        """Wait until each has been opened so often, but no longer than ``seconds``."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        while any(each.opened < times for each in self.all) and loop.time() < ends_at:  # noqa: ASYNC110
            await asyncio.sleep(BACK_SECONDS)

    def missing(self, told: Mapping[str, Collection[int]]) -> int:
        """How much of what its organization was to be told of nobody told a listener, over all listeners."""
        return sum(len(set(told.get(each.organization, ())) - each.told) for each in self.all)

    def state(self) -> dict[str, int]:
        """What they saw, over all listeners but the slow one."""
        kinds: Counter[bytes] = sum((each.kinds for each in self.all), Counter())
        return {
            "streams": len(self.all),
            "opened": sum(each.opened for each in self.all),
            "messages": kinds[b"event"] + kinds[b"attempt"],
            "repeated": sum(each.repeated for each in self.all),
            "gaps": kinds[b"gap"],
        }

    async def leave(self) -> None:
        """Close all."""
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        if self._slow_writer is not None:
            self._slow_writer.close()
