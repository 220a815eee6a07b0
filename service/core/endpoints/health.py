"""How an endpoint fares."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Health:
    """What came of an endpoint's newest deliveries. All empty: nothing did.

    ``failures_in_a_row`` counts deliveries that failed after the last success, as far as was looked.
    """

    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    last_failure_reason: str | None = None
    last_failure_status: int | None = None
    failures_in_a_row: int = 0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """The middle and the slow end of some durations, in milliseconds; None where there was nothing to measure."""

    p50_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """An endpoint's deliveries, counted. ``is_capped``: there were more than were looked at, the newest of each type.

    ``latency`` is from a delivery's making to its success, ``duration`` of single attempts.
    """

    by_state: Mapping[str, int] = field(default_factory=dict)
    by_reason: Mapping[str, int] = field(default_factory=dict)
    latency: Percentiles = Percentiles()
    duration: Percentiles = Percentiles()
    oldest_pending_age_seconds: float | None = None
    is_capped: bool = False
