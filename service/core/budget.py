"""Budgets of requests: a bucket that holds so many, and fills again at a steady pace. Pure arithmetic.

What is kept of a bucket is how much of it is used; it eases as time passes, and a request that fits adds one. A request
that does not fit adds nothing, so asking too often makes nobody wait longer.
"""

from math import ceil, floor
from typing import Final

from msgspec import Struct

HOUR_SECONDS: Final = 3_600
MINUTE_SECONDS: Final = 60
ROUNDING: Final = 1e-6
"""Of a request: what sums of fractions may be off by. Whoever waits as long as was said finds room."""


class Budget(Struct, frozen=True):
    """``requests`` at once, and as many again in each ``window_seconds``. ``name`` is what headers call it."""

    name: str
    requests: int
    window_seconds: int

    @property
    def per_second(self) -> float:
        """At what pace it fills again."""
        return self.requests / self.window_seconds

    def eased(self, used: float, seconds: float) -> float:
        """What is still used so many seconds later; a clock that went back changes nothing."""
        return max(0.0, used - max(0.0, seconds) * self.per_second)

    def fits(self, used: float) -> bool:
        """Whether one more request may pass."""
        return used + 1 <= self.requests + ROUNDING

    def after_one(self, used: float) -> float:
        """What is used after one more request was asked for, whether or not it passed.

        A bucket that was used beyond a limit that has been lowered since is full, and no more than that.
        """
        return used + 1 if self.fits(used) else min(used, float(self.requests))

    def left(self, used: float) -> int:
        """How many requests may pass at once."""
        return max(0, floor(self.requests - used + ROUNDING))

    def more_in_seconds(self, used: float) -> int:
        """In how many whole seconds one more request than now may pass; 0 if all may."""
        left = self.left(used)
        if left == self.requests:
            return 0
        missing = left + 1 - (self.requests - used)
        return max(1, ceil(missing / self.per_second - ROUNDING))
