"""What every verb is given: a clock, randomness, an observer, and a way to retry."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from service.ports.errors import UnavailableError
from service.ports.observer import Observer, Trouble
from service.ports.surroundings import Clock, Draw, Pause

PAUSE_MIN_SECONDS = 0.1
PAUSE_MAX_SECONDS = 5.0
SLICE_SECONDS = 0.005
"""Long work on the event loop is cut into slices of this, a tenth of what the loop may be held up for."""

Result = TypeVar("Result")


class Slices:
    """Awaited again and again by long work: lets the other tasks run, once a slice of time is used up."""

    __slots__ = ("_clock", "_since")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.monotonic()

    async def __call__(self) -> None:
        """Let others run if it is their turn."""
        if self._clock.monotonic() - self._since >= SLICE_SECONDS:
            await asyncio.sleep(0)
            self._since = self._clock.monotonic()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The outside world as the flow sees it."""

    clock: Clock
    observer: Observer
    draw: Draw
    pause: Pause

    async def rest(self, seconds: float) -> None:
        """Pause for ``seconds`` with jitter, so that workers that started together do not stay in step."""
        await self.pause(seconds * (1 + 0.2 * self.draw()))

    async def rest_until(self, event: asyncio.Event, seconds: float) -> None:
        """Rest until ``event``, for ``seconds`` at most; clears it."""
        with suppress(TimeoutError):
            await self.within("resting", seconds * (1 + 0.2 * self.draw()), event.wait())
        event.clear()

    def slices(self) -> "Slices":
        """For work that might take long: await the result after each small part of it."""
        return Slices(self.clock)

    async def within(self, what: str, seconds: float, step: Coroutine[Any, Any, Result]) -> Result:
        """Run ``step`` for at most ``seconds``; after that it is cancelled. Raises ``TimeoutError``."""
        running = asyncio.ensure_future(step)
        timer = asyncio.ensure_future(self.pause(max(0.0, seconds)))
        try:
            await asyncio.wait((running, timer), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                raise TimeoutError(f"{what} took longer than {seconds:g} s")
            return running.result()
        finally:
            for each in (running, timer):
                each.cancel()
            await asyncio.gather(running, timer, return_exceptions=True)

    async def keep_trying(self, where: str, step: Callable[[], Awaitable[Result]]) -> Result:
        """Run ``step`` until it succeeds, however long the database or the broker is unavailable.

        Nothing is dropped meanwhile. Every error but ``UnavailableError`` is raised.
        """
        seconds = PAUSE_MIN_SECONDS
        while True:
            try:
                return await step()
            except UnavailableError as error:
                self.observer.tell(Trouble(where, error))
            await self.rest(seconds)
            seconds = min(seconds * 2, PAUSE_MAX_SECONDS)
