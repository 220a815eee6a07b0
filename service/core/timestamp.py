"""Timestamps as text: one format is written; every format that producers may use is read."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MILLISECONDS_FROM = 1e11  # from here on an epoch number is in milliseconds: in seconds it would be the year 5138


def format_timestamp(at: datetime) -> str:
    """Always six fractional digits and a Z (a bare ``isoformat`` drops zero microseconds)."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def parse_timestamp(value: object) -> datetime | None:
    """An aware UTC instant from any format a producer may use; None for anything else, including naive times."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if abs(value) >= MILLISECONDS_FROM else value, UTC)
        if not isinstance(value, str):
            return None
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            at = parsedate_to_datetime(value)
            if value.rstrip().endswith("-0000"):  # RFC 5322: the offset is unknown
                return None
        return at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, OverflowError, OSError, TypeError, IndexError):
        return None
