"""The breaker: what is remembered of an endpoint whose attempts fail. One that works has none."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

RAMP_MAX: Final = 32
"""Requests in flight at which the ramp ends: what a few workers begin with at an endpoint that they do not know."""
RAMP_SECONDS: Final = 60.0
"""A success that comes this long after the first ends the ramp, too: the endpoint has little to do."""


class BreakerState(StrEnum):
    """Where a breaker stands. The table's CHECK lists the same."""

    CLOSED = "closed"
    OPEN = "open"  # nothing is sent; from ``changes_at`` on it is half open: one delivery at a time is tried
    RAMP = "ramp"  # a delivery was taken: more may follow, a few more with each success


class BreakerLimits(Struct, frozen=True, gc=False):
    """A breaker opens after so many ``failures`` in a row (0: never), for ``open_seconds``; doubled up to the most."""

    failures: int = 10
    open_seconds: float = 60.0
    open_seconds_max: float = 900.0

    def seconds(self, opened_count: int) -> float:
        """For how long a breaker stays open that opens for the ``opened_count``-th time without closing."""
        most = max(self.open_seconds, self.open_seconds_max)
        return min(most, self.open_seconds * 2.0 ** min(opened_count - 1, 30))


NEVER_OPENS: Final = BreakerLimits(failures=0)


class Breaker(Struct, frozen=True, gc=False):
    """An endpoint's failures since its last success, and what follows from them.

    ``failing_since`` is when the first of them was committed, None if there is none; ``attempts_failed`` counts them.
    Attempts that failed through our own fault are left out. Whoever wants to know for how long an endpoint has been
    failing reads this, from the table ``breakers``: it is reset by the next success, whichever worker sees it.

    ``failures_in_a_row`` counts outages: no connection, no answer in time, 429 or 5xx. Another answer ends the row.
    ``in_flight_max`` is how many requests the endpoint may have in flight over all workers; None: any number.
    """

    failing_since: datetime | None = None
    attempts_failed: int = 0
    failures_in_a_row: int = 0
    state: BreakerState = BreakerState.CLOSED
    opened_count: int = 0
    changes_at: datetime | None = None
    in_flight_max: int | None = None

    def failed(self, at: datetime, limits: BreakerLimits = NEVER_OPENS, *, is_outage: bool = True) -> "Breaker":
        """The breaker after one more failed attempt."""
        counted = replace(
            self,
            failing_since=self.failing_since or at,
            attempts_failed=self.attempts_failed + 1,
            failures_in_a_row=self.failures_in_a_row + 1 if is_outage else 0,
        )
        if not limits.failures:
            return replace(counted, state=BreakerState.CLOSED, changes_at=None, in_flight_max=None, opened_count=0)
        if not is_outage:
            return counted
        match self.state:
            case BreakerState.CLOSED:
                return _opened(counted, at, limits) if counted.failures_in_a_row >= limits.failures else counted
            case BreakerState.OPEN:  # what was in flight when it opened changes nothing
                return _opened(counted, at, limits) if self.is_half_open(at) else counted
            case BreakerState.RAMP:
                half = (self.in_flight_max or 0) // 2
                return replace(counted, in_flight_max=half) if half else _opened(counted, at, limits)

    def succeeded(self, at: datetime, count: int = 1) -> "Breaker | None":
        """The breaker after ``count`` successes; None if there is nothing left to remember."""
        if self.state is BreakerState.CLOSED:
            return None
        in_flight_max = (self.in_flight_max or 0) + count
        changes_at = self.changes_at
        if self.state is BreakerState.OPEN:
            changes_at = at + timedelta(seconds=RAMP_SECONDS)
        elif in_flight_max > RAMP_MAX or changes_at is None or at >= changes_at:
            return None
        return Breaker(
            state=BreakerState.RAMP,
            opened_count=self.opened_count,
            changes_at=changes_at,
            in_flight_max=min(in_flight_max, RAMP_MAX),
        )

    def resumed(self, at: datetime) -> "Breaker | None":
        """The breaker after a person has resumed the endpoint: its failures are forgotten, and it may be tried now."""
        if self.state is BreakerState.CLOSED:
            return None
        return replace(
            self,
            failing_since=None,
            attempts_failed=0,
            failures_in_a_row=0,
            opened_count=0,
            changes_at=at if self.state is BreakerState.OPEN else self.changes_at,
        )

    def is_half_open(self, at: datetime) -> bool:
        """Whether the endpoint may be tried, one delivery at a time."""
        return self.state is BreakerState.OPEN and self.changes_at is not None and at >= self.changes_at

    def probe_at(self, at: datetime) -> datetime | None:
        """From when on claims may pass its gate."""
        return self.changes_at if self.state is BreakerState.OPEN else at

    @property
    def detail(self) -> str:
        """What its gate says."""
        if not self.failures_in_a_row and self.state is BreakerState.OPEN:
            return "the endpoint failed before it was resumed, so it is tried with one delivery at a time"
        if self.state is BreakerState.RAMP:
            return "the endpoint answers again after an outage, and gets more requests at a time with each success"
        return (
            f"the endpoint failed {self.failures_in_a_row} times in a row (no connection, no answer in time, 429 or "
            "5xx), so it is tried with one delivery at a time, with pauses"
        )


def _opened(breaker: Breaker, at: datetime, limits: BreakerLimits) -> Breaker:
    opened_count = breaker.opened_count + 1
    return replace(
        breaker,
        state=BreakerState.OPEN,
        opened_count=opened_count,
        changes_at=at + timedelta(seconds=limits.seconds(opened_count)),
        in_flight_max=1,
    )
