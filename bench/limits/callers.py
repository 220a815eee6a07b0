"""Who calls the API during a measurement."""

import asyncio
import json
import time
from contextlib import suppress
from typing import Any

import aiohttp


class Caller:
    """An organization's program, with a key."""

    def __init__(self, port: int, key: str) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.took_ms: list[float] = []
        self.refused = 0

    async def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - any JSON
        """Call once; returns the JSON."""
        async with aiohttp.ClientSession(headers=self._headers) as session:
            return await self._ask(session, method, path, body)

    async def repeat(self, rate: float, path: str) -> None:
        """PATCH an endpoint at a rate, until cancelled; each change differs from the one before."""
        started, number = time.monotonic(), 0
        async with aiohttp.ClientSession(headers=self._headers) as session:
            while True:
                number += 1
                await asyncio.sleep(started + number / rate - time.monotonic())
                began_at = time.perf_counter()
                with suppress(OSError, TimeoutError):
                    await self._ask(session, "PATCH", path, {"timeout_seconds": 5 + number % 10})
                self.took_ms.append((time.perf_counter() - began_at) * 1e3)

    async def _ask(self, session: aiohttp.ClientSession, method: str, path: str, body: object) -> Any:  # noqa: ANN401
        data = None if body is None else json.dumps(body)
        async with session.request(method, self._url + path, data=data) as reply:
            self.refused += not reply.ok
            return await reply.json()
