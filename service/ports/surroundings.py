"""Time, randomness and ids, passed in so that tests can control them."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    """The worker's own clock."""

    def now(self) -> datetime:
        """An aware UTC instant."""

    def monotonic(self) -> float:
        """Seconds that never go backwards."""


Draw = Callable[[], float]
"""A number in [-1, 1): the jitter."""


NewUid = Callable[[], UUID]
"""A fresh UUIDv7."""


Pause = Callable[[float], Awaitable[None]]
"""Sleep for this many seconds; tests pass one that they control."""
