"""What every verb is given: time, chance, someone to tell, and the patience to try again."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from service.ports.errors import UnavailableError
from service.ports.observer import Observer
from service.ports.surroundings import Clock, Draw, Pause

PAUSE_MIN_SECONDS = 0.1
PAUSE_MAX_SECONDS = 5.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The world as the flow sees it."""

    clock: Clock
    observer: Observer
    draw: Draw
    pause: Pause

    async def rest(self, seconds: float) -> None:
        """Pause for about so long: workers that began together do not stay in step."""
        await self.pause(seconds * (1 + 0.2 * self.draw()))

    async def persist(self, where: str, step: Callable[[], Awaitable[Result]]) -> Result:
        """Run ``step`` until it gets through, however long the database or the broker is away.

        Nothing it holds is dropped meanwhile. Anything but ``UnavailableError`` is a bug, and surfaces.
        """
        seconds = PAUSE_MIN_SECONDS
        while True:
            try:
                return await step()
            except UnavailableError as error:
                self.observer.trouble(where, error)
            await self.rest(seconds)
            seconds = min(seconds * 2, PAUSE_MAX_SECONDS)
