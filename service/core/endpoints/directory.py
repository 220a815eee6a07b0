"""Who wants which events: an organization's endpoints and subscriptions, as one immutable snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from service.core.endpoints.endpoint import StoredEndpoint
from service.core.endpoints.filter import decode_envelope
from service.core.endpoints.subscription import Subscription, most_specific
from service.core.events.own_type import OwnEventType

NO_EVENT_TYPES: Mapping[str, OwnEventType] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class OrganizationDirectory:
    """Everything needed to fan out an organization's events, as of ``version``.

    The record transaction compares ``version`` with the database's, so a stale copy is never used.
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
        """The directory of these subscriptions, and of the event types that the organization registered."""
        return cls(organization_id, version, {each.id: each for each in subscriptions}, event_types)

    def matching(self, event_type: str, body: bytes) -> tuple[Subscription, ...]:
        """The subscriptions that get an event of this (registered) type, at most one for each endpoint.

        ``body`` is the event's envelope. It is decoded once, and only if an endpoint subscribed to the type has a
        filter.
        """
        counting = self._counting.get(event_type)
        if counting is None:  # computed once for each type, as the directory never changes
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
class StoredDirectory:
    """All of an organization's endpoints and its own event types, as of ``version``."""

    organization_id: str
    version: int
    endpoints: tuple[StoredEndpoint, ...]
    event_types: Mapping[str, OwnEventType] = field(default_factory=dict)
