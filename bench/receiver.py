"""A receiver fast enough not to be the bottleneck: answers 200 and records which event arrived when.

``python -m bench.receiver PORT`` serves until SIGTERM. ``GET /count`` returns the number of POSTs; ``GET /ledger``
returns two int64 per POST: the event's number, from its webhook-id, and the wall clock in nanoseconds when it was read.
"""

import asyncio
import sys
import time
from array import array

import uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Receiver(asyncio.Protocol):
    """Just enough HTTP/1.1 for Posthorn's requests: a head, a Content-Length, a body."""

    ledger = array("q")  # one ledger for all connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer every complete request received so far."""
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
                end_of_id = head.find(b"\r\n", at)
                name = head[at : end_of_id if end_of_id >= 0 else end]
                self.ledger.extend((int(name[name.rindex(b"_") + 1 :]), now))
                self.transport.write(OK)
            else:
                self._tell(head)
            self.buffer = self.buffer[end + 4 + size :]

    def _tell(self, head: bytes) -> None:
        body = str(len(self.ledger) // 2).encode() if b"/count" in head else self.ledger.tobytes()
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def main(port: int) -> None:
    """Serve until terminated."""
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
