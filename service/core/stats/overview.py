"""The overview of an organization, or of one of its endpoints: what arrived, what waits and why, what fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.core.endpoints.gates.gate import Gate
from service.core.stats.period import Period
from service.core.stats.times import percentile


@dataclass(slots=True)
class Counts:
    """Deliveries, by where they stand now; a replay is a delivery of its own.

    Of those still open, ``waiting`` have failed before or are held by a gate, and ``fresh`` are about to be tried.
    """

    delivered: int = 0
    waiting: int = 0
    dead: int = 0
    cancelled: int = 0
    fresh: int = 0

    def add(self, other: "Counts") -> None:
        """Add the other's counts to these."""
        self.delivered += other.delivered
        self.waiting += other.waiting
        self.dead += other.dead
        self.cancelled += other.cancelled
        self.fresh += other.fresh

    @property
    def all(self) -> int:
        """All of them."""
        return self.delivered + self.waiting + self.dead + self.cancelled + self.fresh

    @property
    def success_rate(self) -> float | None:
        """The part that was delivered of all that were tried or held; None if there were none."""
        tried = self.delivered + self.waiting + self.dead
        return self.delivered / tried if tried else None


@dataclass(frozen=True, slots=True)
class ReceiverTimes:
    """How long receivers took to answer; an attempt without an answer counts with its timeout.

    ``slots`` are the attempts by ``times.slot_of``.
    """

    slots: Mapping[int, int]

    @property
    def attempts_count(self) -> int:
        """How many attempts were measured."""
        return sum(self.slots.values())

    @property
    def p50_ms(self) -> float | None:
        """The median."""
        return percentile(self.slots, 0.5)

    @property
    def p95_ms(self) -> float | None:
        """The 95th percentile."""
        return percentile(self.slots, 0.95)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is open now, however old.

    ``due`` would be sent by now, if it were not for gates and limits; ``held`` are behind a gate. ``is_capped``: there
    are more, which were not looked at.
    """

    open: int = 0
    due: int = 0
    held: int = 0
    oldest_due_at: datetime | None = None
    is_capped: bool = False


@dataclass(frozen=True, slots=True)
class HeldEndpoint:
    """An endpoint behind a gate that does not open in a moment."""

    endpoint_id: str
    url: str
    gate: Gate
    open: int


@dataclass(frozen=True, slots=True)
class FailingEndpoint:
    """An endpoint without a success since ``since``, when ``attempts_failed`` began to be counted.

    ``reason`` and ``status`` are of its last failure. ``next_probe_at`` is when its breaker tries it again; None if it
    is tried as its deliveries become due.
    """

    endpoint_id: str
    url: str
    since: datetime
    attempts_failed: int
    open: int
    reason: str | None = None
    status: int | None = None
    next_probe_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class HealedEndpoint:
    """An endpoint with deliveries that failed at first and arrived by themselves, each within ``attempts_max``.

    ``reason`` and ``status`` are of the last failure of the one that arrived last, at ``healed_at``.
    """

    endpoint_id: str
    url: str
    deliveries_count: int
    attempts_max: int
    healed_at: datetime
    reason: str | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """The figures of a period.

    ``complete_since`` is None if they hold for all of it; else what ended long ago is still being counted, and they
    hold for events since then.
    """

    period: Period
    since: datetime
    at: datetime
    complete_since: datetime | None
    buckets: Mapping[datetime, Counts]
    times: ReceiverTimes
    backlog: Backlog
    endpoints_count: int
    held: Sequence[HeldEndpoint] = ()
    failing_count: int = 0
    failing: Sequence[FailingEndpoint] = ()
    healed: Sequence[HealedEndpoint] = ()

    @property
    def totals(self) -> Counts:
        """Of all buckets."""
        return total_of(self.buckets)


@dataclass(frozen=True, slots=True)
class Sparkline:
    """The last 24 hours of an endpoint, by the hour, and what is open there now."""

    buckets: Mapping[datetime, Counts]
    open: int = 0

    @property
    def totals(self) -> Counts:
        """Of all hours."""
        return total_of(self.buckets)


def total_of(buckets: Mapping[datetime, Counts]) -> Counts:
    """The counts of all buckets together."""
    total = Counts()
    for each in buckets.values():
        total.add(each)
    return total
