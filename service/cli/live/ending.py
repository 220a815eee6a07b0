"""How a command that goes on by itself is ended from outside."""

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@asynccontextmanager
async def ended() -> AsyncIterator[asyncio.Event]:
    """Set once somebody asked this process to end. Ctrl-C stays what it is: it cancels the command."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    for each in _SIGNALS:
        loop.add_signal_handler(each, event.set)
    try:
        yield event
    finally:
        for each in _SIGNALS:
            loop.remove_signal_handler(each)


async def first_of(*works: Coroutine[Any, Any, object]) -> None:
    """Run until the first of them ends, and cancel the others. Raises what any of them raised."""
    tasks = [asyncio.create_task(each) for each in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in tasks:
            each.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
