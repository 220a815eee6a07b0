"""Ended deliveries, counted as they end: what figures over hours and days are read from."""

from typing import Protocol

from msgspec import Struct


class CountingStep(Struct, frozen=True, gc=False):
    """A step: so many deliveries counted, or no step since another worker takes one.

    ``is_behind``: more have ended that could be counted now. ``lag_seconds`` is how long ago the youngest counted one
    may have ended; None as long as nothing is counted.
    """

    counted: int = 0
    is_behind: bool = False
    lag_seconds: float | None = None


class CountStore(Protocol):
    """The counts. Safe to run concurrently: one worker takes a step at a time, and the others do nothing meanwhile.

    Both verbs may raise ``UnavailableError``.
    """

    async def count_on(self, limit: int) -> CountingStep:
        """Count about ``limit`` deliveries that have ended since the last step, and remember how far: one transaction.

        Whenever the process dies, each is counted once. What one statement ended is counted in one step.
        """

    async def count_back(self, limit: int) -> CountingStep:
        """The same for what had ended before the first step, the youngest first."""
