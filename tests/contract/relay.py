"""A TCP relay between a client and a broker: where a test cuts the cable, or lets every byte sink without a word."""

import asyncio
import ssl
from contextlib import suppress
from typing import Self


class Relay:
    """``async with Relay(host, port) as relay:`` and connect to ``relay.port`` instead."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """With ``tls`` it is spoken on this side of the relay."""
        self._tls = tls
        self._target = (host, port)
        self._links: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._stranded: set[asyncio.StreamWriter] = set()
        self.answer_bytes_max: int | None = None
        """Each connection ends once it has brought so many bytes back, in the middle of whatever that was."""
        self.port = 0
        self.accepted_count = 0

    def cut(self) -> None:
        """Break every connection off; new ones are let through."""
        for writers in self._links.values():
            for writer in writers:
                writer.transport.abort()

    def sink(self) -> None:
        """Pass nothing on any more, in either direction, with every connection left open."""
        self._flowing.clear()

    def strand(self) -> None:
        """Let every byte of the connections there are vanish, as after a failover; new ones are let through."""
        self._stranded.update(*self._links.values())

    def flow(self) -> None:
        """Pass everything on again."""
        self._flowing.set()

    async def close(self) -> None:
        """Cut, and accept nothing more: connections to ``port`` are refused."""
        if self._server is not None:
            self._server.close()
            self.cut()
            self.flow()
            await asyncio.gather(*self._links, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def open(self) -> None:
        """Accept connections, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted_count += 1
        task = asyncio.create_task(self._join(reader, writer))
        self._links[task] = (writer,)
        task.add_done_callback(self._links.pop)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
        except OSError:  # nobody is there: whoever came is told so, as without a relay
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._links[task] = (writer, there_writer)
        await asyncio.gather(self._pass(reader, there_writer), self._pass(there_reader, writer, is_answer=True))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool = False
    ) -> None:
        brought_bytes = 0
        with suppress(OSError):
            while chunk := await reader.read(65536):
                await self._flowing.wait()
                if writer in self._stranded:
                    continue
                left_bytes = (
                    self.answer_bytes_max - brought_bytes if is_answer and self.answer_bytes_max else len(chunk)
                )
                writer.write(chunk[:left_bytes])
                await writer.drain()
                brought_bytes += len(chunk)
                if left_bytes < len(chunk):
                    break
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
