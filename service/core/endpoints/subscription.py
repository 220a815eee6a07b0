"""A subscription: endpoint x event type, or a pattern that covers several."""

from collections.abc import Iterable
from dataclasses import dataclass

from service.core.endpoints.endpoint import Endpoint
from service.core.events.types.operational import is_operational


@dataclass(frozen=True, slots=True)
class Subscription:
    """Endpoint x event type: the row that ``/api/v2/resthook_subscribers`` shows."""

    id: int
    event_type: str
    endpoint: Endpoint


def covers(pattern: str, event_type: str) -> bool:
    """Whether a subscription to ``pattern`` (a type, ``prefix.*`` or ``*``) wants events of this type.

    ``*`` covers all types but operational ones, which nobody gets who has not asked for them.
    """
    if pattern == "*":
        return not is_operational(event_type)
    return pattern == event_type or (pattern.endswith(".*") and event_type.startswith(pattern[:-1]))


def patterns_covering(event_type: str) -> tuple[str, ...]:
    """Every pattern that covers the type, the most specific one first: the type itself, ``prefix.*``, ``*``."""
    parts = event_type.split(".")
    prefixes = (".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))
    everything = () if is_operational(event_type) else ("*",)
    return event_type, *(f"{prefix}.*" for prefix in prefixes), *everything


def specificity(pattern: str) -> tuple[bool, int]:
    """A sort key: an exact event type is more specific than any pattern, a longer pattern than a shorter one."""
    return "*" not in pattern, len(pattern)


def most_specific(subscriptions: Iterable[Subscription], event_type: str) -> Subscription | None:
    """The most specific subscription that covers ``event_type``; among equals, the oldest. None if none covers it."""
    covering = (each for each in subscriptions if covers(each.event_type, event_type))
    return max(covering, key=lambda each: (specificity(each.event_type), -each.id), default=None)
