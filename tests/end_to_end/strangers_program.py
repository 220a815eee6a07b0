"""Strangers, in a process of their own: ``python -m tests.end_to_end.strangers_program PORT COUNT``.

Each keeps a connection open on which a request's head never ends, and opens it anew when it is closed. A line says when
all have connected once; at the end of standard input, another says how often they did.
"""

import asyncio
import sys
from contextlib import suppress

UNENDED = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nX-Slow: "


class Strangers:
    def __init__(self, port: int) -> None:
        self._port = port
        self.came = 0
        self.may_go = asyncio.Event()

    async def insist(self, has_come: asyncio.Event) -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                self.came += 1
                has_come.set()
                try:
                    writer.write(UNENDED)
                    await reader.read()
                finally:
                    writer.close()


async def main(port: int, count: int) -> None:
    strangers = Strangers(port)
    come = [asyncio.Event() for _ in range(count)]
    insisting = [asyncio.create_task(strangers.insist(each)) for each in come]
    for each in come:
        await each.wait()
    print("here", flush=True)  # noqa: T201 - the test reads it
    await asyncio.to_thread(sys.stdin.read)
    for task in insisting:
        task.cancel()
    await asyncio.gather(*insisting, return_exceptions=True)
    print(strangers.came, flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
