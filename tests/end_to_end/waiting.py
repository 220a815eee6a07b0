"""Waiting for what other processes do: nothing here guesses how long it takes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

TICK_SECONDS = 0.02
SECONDS_MAX = 200.0  # so that a test that hangs says why; nothing takes a tenth of it, but on a machine that is busy


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, *, told: Callable[[], str] = str) -> None:
    """Return as soon as ``condition`` holds. When it does not in time, ``told`` adds what is known to the failure."""
    try:
        async with asyncio.timeout(SECONDS_MAX):
            while not await _holds(condition):
                await _tick()
    except TimeoutError:
        raise AssertionError(f"not within {SECONDS_MAX:g} s: {what}\n{told()}") from None


async def _holds(condition: Callable[[], bool | Awaitable[bool]]) -> bool:
    held = condition()
    return held if isinstance(held, bool) else await held


async def _tick() -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), TICK_SECONDS)
