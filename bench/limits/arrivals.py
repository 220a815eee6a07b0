"""A running receiver, and what has arrived at it."""

import asyncio
from array import array
from collections.abc import Callable, Collection

from bench.limits.receiver import ADDRESS

WELL = frozenset({"ok", "close"})
POLL_SECONDS = 0.2


class Arrivals:
    """When each event arrived, in nanoseconds, by its number. Only what is new is fetched."""

    def __init__(self, process_id: int, port: int, hole_port: int, asked_port: int, *, scheme: str = "http") -> None:
        self.process_id = process_id
        self._port = port
        self._hole_port = hole_port
        self._asked_port = asked_port
        self._scheme = scheme
        self._asking = asyncio.Lock()
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.count = 0
        self.by_number: dict[int, list[int]] = {}

    def url(self, behaviour: str, name: str, host: int = 0) -> str:
        """The URL of an endpoint that behaves so; ``black`` is a port where no connection is ever made.

        Those that are well and those that are ill are on hosts of their own, and there are as many hosts as are named.
        """
        address = f"127.{1 if behaviour in WELL else 2}.{host >> 8}.{host & 255}" if host else ADDRESS
        if behaviour == "black":
            return f"{self._scheme}://{address}:{self._hole_port}/{name}"
        return f"{self._scheme}://{address}:{self._port}/{behaviour}/{name}"

    async def fetch(self) -> dict[int, list[int]]:
        """Ask for what has arrived since; returns everything."""
        ledger = array("q", await self._ask(f"/ledger/{self.count}"))
        for number, at_ns in zip(ledger[::2], ledger[1::2], strict=True):
            self.by_number.setdefault(number, []).append(at_ns)
        self.count += len(ledger) // 2
        return self.by_number

    async def until(self, numbers: Collection[int], seconds: float) -> bool:
        """Wait until all these events have arrived, but no longer than ``seconds``. Whether they have."""
        return await self._until(lambda: all(number in self.by_number for number in numbers), seconds)

    async def until_count(self, count: int, seconds: float) -> bool:
        """Wait until so many POSTs have arrived, but no longer than ``seconds``. Whether they have."""
        return await self._until(lambda: self.count >= count, seconds)

    async def hold(self) -> None:
        """The endpoints that can be held answer nothing from now on."""
        await self._ask("/hold")

    async def mend(self) -> None:
        """They answer again."""
        await self._ask("/mend")

    async def close(self) -> None:
        """Close the connection on which it is asked."""
        if self._connection is not None:
            self._connection[1].close()

    async def _until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        while True:
            await self.fetch()
            if is_so() or loop.time() > ends_at:
                return is_so()
            await asyncio.sleep(POLL_SECONDS)

    async def _ask(self, path: str) -> bytes:
        async with self._asking:
            if self._connection is None:
                self._connection = await asyncio.open_connection(ADDRESS, self._asked_port)
            reader, writer = self._connection
            writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            return await reader.readexactly(int(head.rpartition(b": ")[2]))
