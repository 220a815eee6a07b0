"""The periods that figures are asked for, and the widths of the buckets in which ended deliveries are counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final


class PeriodName(StrEnum):
    """How far back figures go."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"


@dataclass(frozen=True, slots=True)
class Period:
    """So many buckets of one width, the last of which holds this moment. Each width divides a day of UTC."""

    bucket_seconds: int
    buckets_count: int

    def starts_at(self, now: datetime) -> datetime:
        """The beginning of the first bucket."""
        return self.bucket_of(now) - timedelta(seconds=self.bucket_seconds * (self.buckets_count - 1))

    def bucket_of(self, at: datetime) -> datetime:
        """The beginning of the bucket that ``at`` falls into."""
        seconds = int(at.timestamp())
        return datetime.fromtimestamp(seconds - seconds % self.bucket_seconds, UTC)

    def buckets(self, now: datetime) -> Sequence[datetime]:
        """The beginning of each bucket, the oldest first."""
        first, width = self.starts_at(now), timedelta(seconds=self.bucket_seconds)
        return [first + number * width for number in range(self.buckets_count)]


PERIODS: Final[Mapping[PeriodName, Period]] = {
    PeriodName.HOUR: Period(60, 60),
    PeriodName.DAY: Period(900, 96),
    PeriodName.WEEK: Period(3_600, 168),
    PeriodName.MONTH: Period(21_600, 120),
}
SPARKLINE: Final = Period(3_600, 24)
"""The last 24 hours of an endpoint in a list."""


@dataclass(frozen=True, slots=True)
class Width:
    """Ended deliveries are counted in buckets of so many seconds for events younger than ``kept``; None: all there are.

    One answer reads buckets of one width only, so it reads as many rows as it shows bars, however busy the hours were.
    """

    seconds: int
    kept: timedelta | None


WIDTHS: Final = tuple(
    Width(each.bucket_seconds, kept)
    for each, kept in (
        (PERIODS[PeriodName.HOUR], timedelta(hours=2)),
        (PERIODS[PeriodName.DAY], timedelta(hours=26)),
        (PERIODS[PeriodName.WEEK], timedelta(days=8)),
        (PERIODS[PeriodName.MONTH], None),
    )
)
"""``kept`` exceeds the period, so that counting may be late by the difference and every bucket shown is complete."""
