"""A small egress proxy: it takes CONNECT, dials what it is told to, and passes bytes both ways."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Self


class ConnectProxy:
    """Records each CONNECT's head. ``routes`` resolves names; ``answer``, if set, is said instead of connecting."""

    def __init__(
        self,
        *,
        routes: Mapping[str, tuple[str, int]] | None = None,
        answer: bytes | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.routes = routes or {}
        self.answer = answer
        self.heads: list[bytes] = []
        self.callers: list[str] = []
        self.was_asked = asyncio.Event()
        self._tls = tls
        self._tasks: set[asyncio.Task[object]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.callers.append(writer.get_extra_info("peername")[0])
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            self.was_asked.set()
            if self.answer is not None:
                writer.write(self.answer)
                if not self.answer:  # it never answers
                    await asyncio.Event().wait()
                return
            authority = self.heads[-1].split(b" ")[1].decode()
            host, _, port = authority.rpartition(":")
            host, number = self.routes.get(authority, (host.strip("[]"), int(port)))
            there, back = await asyncio.open_connection(host, number)
            writer.write(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")
            await asyncio.gather(_pass(reader, back), _pass(there, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()
