"""An endpoint's health and statistics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Health:
    """How an endpoint's newest deliveries ended. All fields are empty if none has ended.

    ``failures_in_a_row`` counts the deliveries that failed after the last success, among those examined.
    """

    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    last_failure_reason: str | None = None
    last_failure_status: int | None = None
    failures_in_a_row: int = 0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """The median and the 95th percentile of some durations; None if there was nothing to measure."""

    p50_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """An endpoint's deliveries, counted. ``is_capped``: only the newest of each event type were examined.

    ``latency`` is from a delivery's creation to its success; ``duration`` is that of single attempts.
    """

    by_state: Mapping[str, int] = field(default_factory=dict)
    by_reason: Mapping[str, int] = field(default_factory=dict)
    latency: Percentiles = Percentiles()
    duration: Percentiles = Percentiles()
    oldest_pending_age_seconds: float | None = None
    is_capped: bool = False
