"""What a limited endpoint may be sent now: pure arithmetic on what the database knows of it.

An endpoint is limited when it asks for a ``rate_limit_per_second``, a ``max_in_flight`` or both. Its allowance is the
number of requests that its rate permits at this moment: it grows with time, up to a small burst, and each claim takes
from it. Its places are the requests that it may have in flight. The database keeps both, and all workers share them.
"""

from math import ceil, inf
from typing import Final, Self

from msgspec import Struct

BURST_SECONDS: Final = 0.25
"""An endpoint that was not sent to for this long may be sent that much at once. So a claim that comes a little late,
because workers only look now and then, makes good what it missed."""
PROMPT_SECONDS: Final = 0.5
"""A delivery that a rate has let through must begin this soon, or is given back: begun later, those that were held up
would be sent together with those that are let through then."""


class Grant(Struct, frozen=True, gc=False):
    """That a limited endpoint may be sent this delivery. It comes with the claim and lasts as long as the lease.

    ``must_begin_promptly``: its endpoint has a rate. ``opens_in_seconds`` is when its rate lets the next one through,
    None if it has no rate or nothing more is due for it now.
    """

    must_begin_promptly: bool
    opens_in_seconds: float | None


class Allowance(Struct, frozen=True, gc=False):
    """A limited endpoint at one moment. None means that it asks for no such limit."""

    rate_per_second: float | None
    in_flight_max: int | None
    requests: float = 1.0
    in_flight: int = 0

    def grown(self, seconds: float) -> Self:
        """The same endpoint ``seconds`` later; a clock that went back changes nothing."""
        if self.rate_per_second is None:
            return self
        burst = 1 + self.rate_per_second * BURST_SECONDS
        return self._with(min(burst, self.requests + max(0.0, seconds) * self.rate_per_second), self.in_flight)

    def most(self, wanted: int) -> int:
        """How many of ``wanted`` requests may begin now."""
        by_rate = inf if self.rate_per_second is None else self.requests
        places = inf if self.in_flight_max is None else self.in_flight_max - self.in_flight
        return max(0, int(min(wanted, by_rate, places)))

    def taken(self, count: int) -> Self:
        """What is left after ``count`` requests were granted."""
        requests = self.requests if self.rate_per_second is None else self.requests - count
        return self._with(requests, self.in_flight + count)

    @property
    def opens_in_seconds(self) -> float:
        """When the rate permits the next request; 0 if it does now. Rounded up, so that nobody comes too early."""
        if self.rate_per_second is None or self.requests >= 1:
            return 0.0
        return ceil((1 - self.requests) / self.rate_per_second * 1000) / 1000

    def _with(self, requests: float, in_flight: int) -> Self:
        return type(self)(self.rate_per_second, self.in_flight_max, requests, in_flight)


def grant_of(left: Allowance, wanted: int, got: int) -> Grant:
    """The grant of each of ``got`` deliveries, of ``wanted`` that might have been claimed; ``left`` is what remains."""
    has_rate = left.rate_per_second is not None
    return Grant(has_rate, left.opens_in_seconds if has_rate and got >= wanted else None)
