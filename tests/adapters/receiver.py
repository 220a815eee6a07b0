"""A receiver on loopback that answers byte by byte as a test tells it, and a DNS of the test's own."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp.abc import AbstractResolver, ResolveResult

from service.core.deliveries.request import Request

HEADERS = {"Content-Type": "application/json", "User-Agent": "Posthorn/0.1.0", "webhook-id": "evt_1"}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Answer = Callable[[int, asyncio.StreamWriter], Awaitable[None]]
"""Answers the POST of this number (1 is the first of the receiver's life)."""


class Receiver:
    """A server on loopback that counts what reaches it and answers byte by byte as it is told."""

    def __init__(self, answer: Answer | bytes, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.answer = answer
        self.accept_count = 0
        self.open_count = 0
        self.posts: list[bytes] = []
        self._tls = tls
        self._host = host
        self._tasks: list[asyncio.Task[object]] = []
        self._hung_up = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, 0, ssl=self._tls, backlog=512)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accept_count += 1
        self.open_count += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                self.posts.append(head + await reader.readexactly(length))
                if isinstance(self.answer, bytes):
                    writer.write(self.answer)
                else:
                    await self.answer(len(self.posts), writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self.open_count -= 1
            self._hung_up.set()

    async def until_hung_up(self) -> None:
        """Wait until no connection is open."""
        async with asyncio.timeout(60):
            while self.open_count:
                self._hung_up.clear()
                await self._hung_up.wait()

    def post(self, path: str = "/hook", *, scheme: str = "http", host: str = "", seconds: float = 5.0) -> Request:
        return Request(f"{scheme}://{host or self._host}:{self.port}{path}", HEADERS, b'{"a":1}', seconds)


class Names(AbstractResolver):
    """DNS that gives each lookup the next answer, and the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [ResolveResult(hostname=host, host=a, port=port, family=family, proto=0, flags=0) for a in answer]

    async def close(self) -> None: ...
