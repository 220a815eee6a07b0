"""What figures say in a sentence."""

from datetime import datetime

from service.core.deliveries.explanation import WHY
from service.core.reason import Reason
from service.core.stats.overview import FailingEndpoint
from service.core.timestamp import format_timestamp


def last_failure(reason: str | None, status: int | None) -> str:
    """Why the last attempt failed: ``the receiver answered 503``."""
    if reason == Reason.HTTP_STATUS and status is not None:
        return f"the receiver answered {status}"
    return WHY.get(Reason(reason), reason) if reason in _REASONS else reason or "its last attempts failed"


def failing_sentence(endpoint: FailingEndpoint) -> str:
    """Since when it fails and how, what waits, and when it is tried again."""
    waiting = f" {endpoint.open:,} wait." if endpoint.open > 1 else " 1 waits." if endpoint.open else ""
    tried = f" Next attempt at {_at(endpoint.next_probe_at)}." if endpoint.next_probe_at else ""
    why = last_failure(endpoint.reason, endpoint.status)
    return f"Failing since {_at(endpoint.since)}: {why}.{waiting}{tried}"


def _at(at: datetime) -> str:
    return format_timestamp(at)


_REASONS = frozenset(each.value for each in Reason)
