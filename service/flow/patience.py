"""Patience: what fails for a passing reason is tried again, with its items in hand, until it works."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.ports import Draw, Observer, Pause, UnavailableError

PAUSE_MIN_SECONDS = 0.1
PAUSE_MAX_SECONDS = 5.0

Result = TypeVar("Result")


class Patience:
    """Retries a step that found the database or the broker away. Anything else is a bug, and surfaces."""

    def __init__(self, observer: Observer, pause: Pause, draw: Draw) -> None:
        self._observer = observer
        self._pause = pause
        self._draw = draw

    async def through(self, where: str, step: Callable[[], Awaitable[Result]]) -> Result:
        """Run ``step`` until it gets through; nothing it holds is dropped meanwhile."""
        seconds = PAUSE_MIN_SECONDS
        while True:
            try:
                return await step()
            except UnavailableError as error:
                self._observer.trouble(where, error)
            await self._pause(seconds * (1 + 0.2 * self._draw()))
            seconds = min(seconds * 2, PAUSE_MAX_SECONDS)
