"""Waiting for what other processes do: nothing here guesses how long it takes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

TICK_SECONDS = 0.02


async def until(
    condition: Callable[[], bool | Awaitable[bool]], what: str, *, within: float = 20.0, told: Callable[[], str] = str
) -> None:
    """Return as soon as ``condition`` holds. When it does not in time, ``told`` adds what is known to the failure."""
    try:
        async with asyncio.timeout(within):
            while not await _holds(condition):
                await _tick()
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {what}\n{told()}") from None


async def _holds(condition: Callable[[], bool | Awaitable[bool]]) -> bool:
    held = condition()
    return held if isinstance(held, bool) else await held


async def _tick() -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), TICK_SECONDS)
