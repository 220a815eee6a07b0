"""A receiver that is no bottleneck: answers 200 and remembers which webhook-id arrived when.

``python -m bench.receiver PORT`` serves until SIGTERM. ``GET /count`` tells how many POSTs came; ``GET /ledger`` gives
a line per POST: the webhook-id and the nanosecond of the wall clock at which its head was read.
"""

import asyncio
import sys
import time

import uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Receiver(asyncio.Protocol):
    """Just enough HTTP/1.1 for our own requests: a head, a Content-Length, a body."""

    ledger: list[tuple[bytes, int]] = []  # noqa: RUF012 - one ledger for all connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer every whole request in what has arrived."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            start = head.find(b"content-length:")
            size = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            if len(self.buffer) < end + 4 + size:
                return
            now = time.time_ns()
            if head.startswith(b"post"):
                at = head.index(b"webhook-id:") + 11
                raw = self.buffer[at : self.buffer.index(b"\r\n", at)].strip()
                self.ledger.append((raw, now))
                self.transport.write(OK)
            else:
                self._tell(head)
            self.buffer = self.buffer[end + 4 + size :]

    def _tell(self, head: bytes) -> None:
        if b"/count" in head:
            body = str(len(self.ledger)).encode()
        else:
            body = b"".join(b"%b %d\n" % row for row in self.ledger)
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def main(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
