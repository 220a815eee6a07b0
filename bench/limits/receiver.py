"""A receiver that behaves as its path says: ``/<behaviour>/<anything>``; it records which event arrived when.

``python -m bench.limits.receiver [CERTIFICATE KEY]`` serves until it is ended. It prints three ports: its own; a black
hole, where no connection is ever made; and one that is asked: ``GET /ledger/N`` returns the event's number and the wall
clock in nanoseconds of each POST after the first N, as int64; ``GET /hold`` and ``GET /mend`` say what ``held`` does.

Behaviours: ``ok`` answers at once; ``close`` answers, and closes the connection; ``slow`` answers after two seconds;
``hung`` never answers; ``drip`` sends a byte of a header each second; ``held`` answers at once, but nothing from a
``/hold`` to a ``/mend``.
"""

import asyncio
import os
import resource
import socket
import ssl
import sys
import time
from array import array
from collections.abc import Callable, Mapping
from contextlib import suppress

import uvloop

LOOPBACK = b"lo"
ADDRESS = "127.0.0.1"
SLOW_SECONDS = 2.0
DRIP_SECONDS = 1.0
BACKLOG = 4_096

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


class Receiver(asyncio.Protocol):
    """Just enough HTTP/1.1 for Posthorn's requests: a head, a Content-Length, a body."""

    ledger = array("q")  # one ledger for all connections
    is_held = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.received = bytearray()
        self.wanted = 0  # how many bytes the next complete request has, if its head has been read

    def data_received(self, data: bytes) -> None:
        """Act on every complete request received so far."""
        self.received += data
        while len(self.received) >= self.wanted:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.received[:end])
            lowered = head.lower()
            start = lowered.find(b"content-length:")
            size = int(lowered[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            if len(self.received) < end + 4 + size:
                self.wanted = end + 4 + size
                return
            del self.received[: end + 4 + size]
            self.wanted = 0
            self._act(head, lowered)

    def _act(self, head: bytes, lowered: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        way = path.split(b"/")
        if method == b"POST":
            at = lowered.index(b"webhook-id:") + 11
            name = lowered[at:].split(b"\r\n", 1)[0]
            self.ledger.extend((int(name[name.rindex(b"_") + 1 :]), time.time_ns()))
            BEHAVIOURS[way[1]](self)
        else:
            if way[1] in {b"hold", b"mend"}:
                Receiver.is_held = way[1] == b"hold"
            body = self.ledger[2 * int(way[2]) :].tobytes() if way[1] == b"ledger" else b""
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    # ------------------------------------------------------------------ behaviours

    def ok(self) -> None:
        """Answer at once."""
        self.transport.write(OK)

    def close(self) -> None:
        """Answer, and close the connection."""
        self.transport.write(CLOSING)
        self.transport.close()

    def held(self) -> None:
        """Answer, unless held."""
        if not self.is_held:
            self.transport.write(OK)

    def slow(self) -> None:
        """Answer late."""
        asyncio.get_running_loop().call_later(SLOW_SECONDS, self._write_late, OK)

    def hung(self) -> None:
        """Never answer."""

    def drip(self, text: bytes = b"HTTP/1.1 200 OK\r\nX-Drip: ") -> None:
        """Begin a header that never ends."""
        if not self.transport.is_closing():
            self.transport.write(text)
            asyncio.get_running_loop().call_later(DRIP_SECONDS, self.drip, b"a")

    def _write_late(self, text: bytes) -> None:
        if not self.transport.is_closing():  # the other side may have had enough of waiting
            self.transport.write(text)


BEHAVIOURS: Mapping[bytes, Callable[[Receiver], None]] = {
    b"ok": Receiver.ok,
    b"close": Receiver.close,
    b"slow": Receiver.slow,
    b"hung": Receiver.hung,
    b"drip": Receiver.drip,
    b"held": Receiver.held,
}


class BlackHole:
    """A port whose queue of connections is full: the kernel drops every further SYN, as a firewall would."""

    def __init__(self) -> None:
        self._listener = listener(backlog=0)
        self.port = int(self._listener.getsockname()[1])
        self._fillers = [socket.socket() for _ in range(3)]
        for filler in self._fillers:
            filler.setblocking(False)  # noqa: FBT003 - the standard library's signature
            with suppress(BlockingIOError):
                filler.connect((ADDRESS, self.port))


def listener(backlog: int = BACKLOG) -> socket.socket:
    """A socket that listens on every address of the loopback interface, 127.0.0.0/8, and on no other interface."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, LOOPBACK)
    made.bind(("0.0.0.0", 0))  # noqa: S104 - of that interface only
    made.listen(backlog)
    return made


def raise_descriptor_limit() -> None:
    """Allow this process, and those it starts, as many open files as the system does."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit_descriptors(soft: int) -> None:
    """Allow so many open files; who asks may have as many as before."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


async def main(certificate: list[str]) -> None:
    """Serve until terminated."""
    raise_descriptor_limit()
    tls = None
    if certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*certificate)
    loop, hole = asyncio.get_running_loop(), BlackHole()
    server = await loop.create_server(Receiver, sock=listener(), ssl=tls)
    asked = await loop.create_server(Receiver, ADDRESS, 0)
    print(server.sockets[0].getsockname()[1], hole.port, asked.sockets[0].getsockname()[1], flush=True)
    await _until_orphaned()


async def _until_orphaned() -> None:
    """A receiver outlives no run, not even one that was killed."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(1)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
