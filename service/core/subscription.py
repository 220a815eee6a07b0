"""Who wants which events: an organization's endpoints and subscriptions, as one immutable snapshot."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from service.core.filter import Filter, decode_envelope
from service.core.own_event_type import OwnEventType
from service.core.retry_schedule import RetrySchedule
from webhook_signature.sign import KEYS_MAX
from webhook_signature.styles import STYLES, Style

NO_EVENT_TYPES: Mapping[str, OwnEventType] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing key of an endpoint.

    ``key`` is None when it could not be unsealed: that stops this endpoint alone, and costs it no attempt.
    """

    key: bytes | None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A target URL an organization registered, with what is needed to send to it.

    ``headers`` go out beside ours. ``schedule`` and ``timeout_seconds``: None is the service's own. ``problem`` says
    which fault of ours, such as a setting that cannot be read, keeps us from sending: that stops this endpoint alone,
    and costs it no attempt.
    """

    id: str
    organization_id: str
    url: str
    secrets: tuple[Secret, ...]
    is_paused: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    style: Style = STYLES["standard"]
    filter: Filter | None = None
    schedule: RetrySchedule | None = None
    timeout_seconds: float | None = None
    problem: str | None = None

    def keys_at(self, now: datetime) -> tuple[bytes, ...] | None:
        """The keys that sign at ``now``, newest first, at most three; None when one of them cannot be opened."""
        keys: list[bytes] = []
        for secret in self.secrets:
            if secret.expires_at is not None and secret.expires_at <= now:
                continue
            if secret.key is None:
                return None
            keys.append(secret.key)
        return tuple(keys[:KEYS_MAX]) or None


@dataclass(frozen=True, slots=True)
class Subscription:
    """Endpoint x event type: the row that ``/api/v2/resthook_subscribers`` shows."""

    id: int
    event_type: str
    endpoint: Endpoint


def covers(pattern: str, event_type: str) -> bool:
    """Whether a subscription to ``pattern`` (a type, ``prefix.*`` or ``*``) wants events of this type."""
    return pattern in {event_type, "*"} or (pattern.endswith(".*") and event_type.startswith(pattern[:-1]))


def specificity(pattern: str) -> tuple[bool, int]:
    """How near a pattern is to what it covers, to compare: a type itself comes first, then the longer pattern."""
    return "*" not in pattern, len(pattern)


def most_specific(subscriptions: Iterable[Subscription], event_type: str) -> Subscription | None:
    """The subscription that counts: the type itself, else the longest pattern that covers it; None when none does."""
    covering = (each for each in subscriptions if covers(each.event_type, event_type))
    return max(covering, key=lambda each: (specificity(each.event_type), -each.id), default=None)


@dataclass(frozen=True, slots=True)
class OrganizationDirectory:
    """Everything needed to fan an organization's events out, as it stood at ``version``.

    The record transaction compares ``version`` with the database's, so a stale copy is noticed, never used.
    """

    organization_id: str
    version: int
    subscriptions: Mapping[int, Subscription]
    event_types: Mapping[str, OwnEventType] = field(default_factory=dict)
    _counting: dict[str, tuple[Subscription, ...]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        organization_id: str,
        version: int,
        subscriptions: tuple[Subscription, ...],
        event_types: Mapping[str, OwnEventType] = NO_EVENT_TYPES,
    ) -> "OrganizationDirectory":
        """The directory of these subscriptions, and of the types the organization registered itself."""
        return cls(organization_id, version, {each.id: each for each in subscriptions}, event_types)

    def matching(self, event_type: str, body: bytes) -> tuple[Subscription, ...]:
        """The subscriptions that get an event of this (registered) type, at most one of each endpoint.

        ``body`` is the event's envelope: decoded once, and only where an endpoint that wants the type has a filter.
        """
        counting = self._counting.get(event_type)
        if counting is None:  # worked out once for each type, as the directory never changes
            counting = self._counting[event_type] = self._that_count(event_type)
        if all(each.endpoint.filter is None for each in counting):
            return counting
        envelope = decode_envelope(body)
        return tuple(each for each in counting if _passes(each, envelope))

    def _that_count(self, event_type: str) -> tuple[Subscription, ...]:
        by_endpoint: dict[str, list[Subscription]] = {}
        for each in self.subscriptions.values():
            by_endpoint.setdefault(each.endpoint.id, []).append(each)
        best = (most_specific(subscriptions, event_type) for subscriptions in by_endpoint.values())
        return tuple(each for each in best if each is not None)


def _passes(subscription: Subscription, envelope: Mapping[str, Any]) -> bool:
    wanted = subscription.endpoint.filter
    return wanted is None or wanted.judge(envelope) is None


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A signing secret as it lies in the database: sealed."""

    id: str
    sealed: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredEndpoint:
    """An endpoint as it lies in the database, with its active subscriptions as (id, event type).

    ``sealed_headers`` is a sealed JSON object; ``filter`` and ``retry`` are decoded JSON, not yet read.
    """

    id: str
    url: str
    is_paused: bool
    secrets: tuple[StoredSecret, ...]
    subscriptions: tuple[tuple[int, str], ...]
    sealed_headers: str | None = None
    signature_style: str = "standard"
    signature_header: str | None = None
    filter: Any = None
    retry: Any = None
    timeout_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class StoredDirectory:
    """All of an organization's endpoints and its own event types, as they stand at ``version``."""

    organization_id: str
    version: int
    endpoints: tuple[StoredEndpoint, ...]
    event_types: Mapping[str, OwnEventType] = field(default_factory=dict)
