"""Listening: an application on a port, with a bounded number of connections."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from aiohttp import web

from service.app.connections import Connections, name_server, tell_connection

SHUTDOWN_SECONDS_MAX: Final = 5.0
"""For requests that are being answered when the service stops."""
BACKLOG: Final = 128
"""Connections that the kernel holds for us; also how many the loop accepts in one go, beyond the bound."""


async def listen(
    stack: AsyncExitStack,
    application: web.Application,
    host: str,
    port: int,
    *,
    connections_max: int,
    socket: Path | None = None,
    is_shared: bool = False,
) -> None:
    """Serve until the stack is closed. ``socket`` replaces host and port; other processes may share a port."""
    application.middlewares.insert(0, tell_connection)
    application.on_response_prepare.append(name_server)
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS_MAX)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    if runner.server is None:
        raise RuntimeError("the runner has no server after its setup")
    connections = Connections(runner.server, connections_max)
    loop = asyncio.get_running_loop()
    server = await (
        loop.create_unix_server(connections.factory, str(socket), backlog=BACKLOG)
        if socket
        else loop.create_server(connections.factory, host, port, backlog=BACKLOG, reuse_port=is_shared or None)
    )
    sweeping = asyncio.create_task(connections.sweep())
    stack.callback(sweeping.cancel)
    stack.push_async_callback(_close, server)


async def _close(server: asyncio.Server) -> None:
    """Accept nothing more, and close.

    What is accepted gets its transport, its protocol and its handler in three turns of the loop. If asyncio's server
    is closed within the first, it forgets the connection, which stays open until the garbage is collected; within the
    others, the runner waits for a handler that has not begun.
    """
    loop = asyncio.get_running_loop()
    for each in server.sockets:
        loop.remove_reader(each)
    for _ in range(3):
        await asyncio.sleep(0)
    server.close()
