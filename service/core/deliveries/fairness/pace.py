"""Pace: what a worker remembers of an endpoint, and how many requests at a time follow from it."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from service.core.deliveries.attempt import Attempt
from service.core.deliveries.outcome import OutcomeKind, asks_for_less, is_outage

LIMIT_AT_FIRST: Final = 4.0
FAILURES_OF_AN_OUTAGE: Final = 3
REMEMBERED_MAX: Final = 65_536
"""Endpoints. One takes some 400 bytes."""


@dataclass(slots=True)
class Pace:
    """How an endpoint answers, as one worker has seen it; ``is_slow`` is None before its first answer.

    ``limit`` is how many requests may be in flight: it grows by one with each success as long as it is used, and is
    halved by a timeout, a 429 or a 503. From then on it grows by one for each round of successes (as TCP does; RFC
    5681), so that a receiver that comes back is not stormed.
    """

    limit: float = LIMIT_AT_FIRST
    is_slow: bool | None = None
    was_cut: bool = False
    failures_in_a_row: int = 0
    outages_in_a_row: int = 0
    is_recovering: bool = False
    served_at: float = float("-inf")
    organization_id: str = ""
    url: str = ""
    host: str = ""

    @property
    def is_unsure(self) -> bool:
        """Whether the next request may well hang: the last one was slow, or there was none."""
        return self.is_slow is not False

    def learn(self, attempt: Attempt, *, stall_seconds: float, limit_max: int, is_at_limit: bool) -> None:
        """Take in how an attempt ended. ``is_at_limit``: no further request could have been in flight beside it."""
        if not attempt.is_counted:
            return  # our own fault says nothing about the endpoint
        self.is_slow = attempt.duration_ms > stall_seconds * 1000
        if attempt.outcome is OutcomeKind.ACCEPTED:
            had_an_outage = max(self.failures_in_a_row, attempt.number - 1) >= FAILURES_OF_AN_OUTAGE
            self.is_recovering = self.is_recovering or had_an_outage
            self.failures_in_a_row = self.outages_in_a_row = 0
            if is_at_limit:
                self.limit = min(float(limit_max), self.limit + (1 / self.limit if self.was_cut else 1))
            return
        self.failures_in_a_row += 1
        self.outages_in_a_row = self.outages_in_a_row + 1 if is_outage(attempt.reason, attempt.status) else 0
        self.is_recovering = False
        if asks_for_less(attempt.reason, attempt.status):
            self.limit = max(1.0, self.limit / 2)
            self.was_cut = True


class Paces:
    """The paces of the endpoints that were served last, at most ``REMEMBERED_MAX``."""

    def __init__(self, limit_at_first: float) -> None:
        self._limit_at_first = limit_at_first
        self._known: OrderedDict[str, Pace] = OrderedDict()

    def find(self, endpoint_id: str) -> Pace | None:
        """The endpoint's pace, if it is remembered."""
        return self._known.get(endpoint_id)

    def of(self, endpoint_id: str) -> Pace:
        """The endpoint's pace; a new one if none is remembered."""
        pace = self._known.get(endpoint_id)
        if pace is None:
            pace = self._known[endpoint_id] = Pace(self._limit_at_first)
            if len(self._known) > REMEMBERED_MAX:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(endpoint_id)
        return pace
