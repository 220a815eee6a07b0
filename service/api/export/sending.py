"""Sending an export: as fast as its client takes it, and no longer than a connection waits for us."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import Final

from aiohttp import web

from service.api.errors import ApiError, Code
from service.api.export.export import SECONDS_MAX, Export

OF_ORGANIZATION_MAX: Final = 4
EXPORTS_MAX: Final = 16
"""In a process: each holds a page in memory while its client takes it."""
TAKING_SECONDS_MAX: Final = SECONDS_MAX + 10
"""For the client to take what was read."""
_RETRY_AFTER_SECONDS: Final = 5


class UnderWay:
    """Counts the exports that are under way, by organization."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    @contextmanager
    def one_of(self, organization_id: str) -> Iterator[None]:
        """Count one while it is sent. Raises ``ApiError`` (429, 503) where there are enough."""
        headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
        if self._counts[organization_id] >= OF_ORGANIZATION_MAX:
            sentence = f"{OF_ORGANIZATION_MAX} exports of the organization are under way; wait for one to end"
            raise ApiError(429, Code.RATE_LIMIT_EXCEEDED, sentence, headers=headers)
        if self._counts.total() >= EXPORTS_MAX:
            raise ApiError(503, Code.UNAVAILABLE, "too many exports are under way; try again", headers=headers)
        self._counts[organization_id] += 1
        try:
            yield
        finally:
            self._counts[organization_id] -= 1
            if not self._counts[organization_id]:
                del self._counts[organization_id]


UNDER_WAY: Final = UnderWay()


async def send(request: web.Request, organization_id: str, export: Export) -> web.StreamResponse:
    """Answer with the export. Raises what reading its first page raises, and ``ApiError`` (429, 503)."""
    async with aclosing(export.chunks):
        with UNDER_WAY.one_of(organization_id):
            return await _send(request, export)


async def _send(request: web.Request, export: Export) -> web.StreamResponse:
    first = await anext(export.chunks)
    response = web.StreamResponse(
        headers={
            "Content-Type": export.content_type,
            "Content-Disposition": f'attachment; filename="{export.name}"',
        }
    )
    await response.prepare(request)
    if request.method != "HEAD":
        await _write(request, response, first, export)
    return response


async def _write(request: web.Request, response: web.StreamResponse, first: bytes, export: Export) -> None:
    """Write all of it. A file that cannot be ended is cut off, so that nobody takes it for complete."""
    try:
        async with asyncio.timeout(TAKING_SECONDS_MAX):
            await response.write(first)
            async for chunk in export.chunks:
                await response.write(chunk)
            await response.write_eof()
    except (TimeoutError, ConnectionError):
        _cut_off(request)  # whoever asked is gone, or does not take it
    except BaseException:
        _cut_off(request)
        raise


def _cut_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
