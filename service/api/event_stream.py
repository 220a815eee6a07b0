"""Server-sent events: an answer that goes on until either side ends it.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final

from aiohttp import web

from service.api.live import CONNECTION

EVENT_STREAM: Final = "text/event-stream"
COMMENT_SECONDS: Final = 15.0
"""How often a stream with nothing to tell shows that it lives: proxies close what is silent for a minute."""

FAREWELL_SECONDS: Final = 1.0
"""For the last frames. Who takes nothing would hold up a service that stops."""

_HEADERS: Final = {"Content-Type": EVENT_STREAM, "X-Accel-Buffering": "no"}  # nginx would hold it back


def frame(kind: str, data: bytes, cursor: str) -> bytes:
    """One message; ``data`` is JSON without line breaks. Without a cursor the reader keeps the one it has."""
    named = f"id: {cursor}\nevent: {kind}\n" if cursor else f"event: {kind}\n"
    return b"%bdata: %b\n\n" % (named.encode(), data)


def comment(text: str, cursor: str | None) -> bytes:
    """What readers do not show. They keep the cursor, so that a quiet stream is resumed from a recent one."""
    return f": {text}\nid: {cursor}\n\n".encode() if cursor else f": {text}\n\n".encode()


def no_frames() -> web.Response:
    """What HEAD gets."""
    return web.Response(headers=_HEADERS)


async def serve_frames(
    request: web.Request, frames: AsyncIterator[bytes], ended: Callable[[], Awaitable[None]]
) -> web.StreamResponse:
    """Answer with these frames, until they end or the client is gone. The next is asked for when one is taken.

    Once ``ended`` returns the client has ``FAREWELL_SECONDS`` to take the last ones, and is cut off then.
    """
    response = web.StreamResponse(headers=_HEADERS)
    connection = request.get(CONNECTION)

    async def write() -> None:
        await response.prepare(request)
        async for each in frames:
            await response.write(each)
            if connection is not None:
                connection.go_on()

    writing = asyncio.create_task(write())
    if connection is not None:
        connection.keep_open(on_lost=writing.cancel)
    ending = asyncio.ensure_future(ended())
    try:
        await asyncio.wait((writing, ending), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((writing,), timeout=FAREWELL_SECONDS)
        if writing.done() and not writing.cancelled():
            with suppress(ConnectionError):
                writing.result()
        elif not writing.done() and request.transport is not None:
            request.transport.abort()  # otherwise the end of the answer would wait for the client, too
    finally:
        ending.cancel()
        writing.cancel()
    return response
