"""Who wants which events: an organization's endpoints and subscriptions, as one immutable snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing key of an endpoint.

    ``key`` is None when it could not be unsealed: that stops this endpoint alone, and costs it no attempt.
    """

    key: bytes | None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A target URL an organization registered, with what is needed to send to it."""

    id: str
    organization_id: str
    url: str
    secrets: tuple[Secret, ...]
    is_paused: bool = False

    def keys_at(self, now: datetime) -> tuple[bytes, ...] | None:
        """The keys that sign at ``now``, newest first; None when one of them cannot be opened."""
        keys = []
        for secret in self.secrets:
            if secret.expires_at is not None and secret.expires_at <= now:
                continue
            if secret.key is None:
                return None
            keys.append(secret.key)
        return tuple(keys) or None


@dataclass(frozen=True, slots=True)
class Subscription:
    """Endpoint x event type: the row that ``/api/v2/resthook_subscribers`` shows."""

    id: int
    event_type: str
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class OrganizationDirectory:
    """Everything needed to fan an organization's events out, as it stood at ``version``.

    The record transaction compares ``version`` with the database's, so a stale copy is noticed, never used.
    """

    organization_id: str
    version: int
    subscriptions: Mapping[int, Subscription]
    by_event_type: Mapping[str, tuple[Subscription, ...]]

    @classmethod
    def of(cls, organization_id: str, version: int, subscriptions: tuple[Subscription, ...]) -> "OrganizationDirectory":
        """The directory of these subscriptions."""
        by_event_type: dict[str, tuple[Subscription, ...]] = {}
        for subscription in subscriptions:
            known = by_event_type.get(subscription.event_type, ())
            by_event_type[subscription.event_type] = (*known, subscription)
        return cls(organization_id, version, {s.id: s for s in subscriptions}, by_event_type)

    def matching(self, event_type: str) -> tuple[Subscription, ...]:
        """The subscriptions that want an event of this type."""
        return self.by_event_type.get(event_type, ())


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A signing secret as it lies in the database: sealed."""

    id: str
    sealed: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredEndpoint:
    """An endpoint as it lies in the database, with its active subscriptions as (id, event type)."""

    id: str
    url: str
    is_paused: bool
    secrets: tuple[StoredSecret, ...]
    subscriptions: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class StoredDirectory:
    """All of an organization's endpoints, as they stand at ``version``."""

    organization_id: str
    version: int
    endpoints: tuple[StoredEndpoint, ...]
