"""Who wants which events: a copy of an organization's endpoints and subscriptions, which changes by its changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from service.core.endpoints.endpoint import Endpoint, StoredEndpoint
from service.core.endpoints.filter.filter import decode_envelope
from service.core.endpoints.subscription import Subscription, patterns_covering
from service.core.events.own_types.own_type import OwnEventType

NARROW_MAX: Final = 200
"""An event for more endpoints than this is fanned out later: so recording it costs what any other event costs."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a copy has read. Endpoints are read in order of the version with which they last changed, then of id."""

    version: int = -1
    endpoint_id: str = ""
    types_version: int = -1


BEGINNING: Final = Place()
VERSION_MAX: Final = 2**62


@dataclass(frozen=True, slots=True)
class DirectoryPage:
    """What comes after a place: endpoints that are new or have changed, those removed, and new event types.

    ``until`` is the place after it. ``version`` is the directory's version; with the last page the copy is up to it.
    """

    organization_id: str
    version: int
    after: Place
    until: Place
    is_last: bool
    endpoints: tuple[StoredEndpoint, ...]
    removed: tuple[str, ...] = ()
    event_types: Mapping[str, OwnEventType] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asking:
    """An endpoint that wants events of a type, through its most specific subscription."""

    stored: StoredEndpoint
    subscription_id: int
    pattern: str


class OrganizationDirectory:
    """Everything needed to fan out an organization's events, as of ``version``; None while a part is not read yet.

    The record transaction compares ``version`` with the database's, so a stale copy is never used. Endpoints are opened
    (unsealed, parsed) when they are first used, and kept until they change.
    """

    def __init__(self, organization_id: str) -> None:
        self.organization_id = organization_id
        self.version: int | None = None
        self.place = BEGINNING
        self.is_too_large = False
        self.event_types: dict[str, OwnEventType] = {}
        self._stored: dict[str, StoredEndpoint] = {}
        self._opened: dict[str, Endpoint] = {}
        self._subscribed: dict[str, dict[str, int]] = {}  # by pattern: each endpoint's oldest subscription to it
        self._ready: dict[str, tuple[Subscription, ...]] = {}

    @property
    def endpoint_count(self) -> int:
        """How many endpoints it keeps."""
        return len(self._stored)

    def take(self, page: DirectoryPage) -> None:
        """Read a page, unless it follows another place: then someone else has read on meanwhile.

        Event types are taken in any case, as they never change.
        """
        self.event_types.update(page.event_types)
        if page.after != self.place or self.is_too_large:
            return
        for endpoint_id in page.removed:
            self._remove(endpoint_id)
        for endpoint in page.endpoints:
            if self._stored.get(endpoint.id) != endpoint:  # otherwise it stays open
                self._remove(endpoint.id)
                self._add(endpoint)
        self._ready.clear()
        self.place = page.until
        self.version = page.version if page.is_last else None

    def give_up(self) -> None:
        """Keep no endpoints: there are too many. Its events are fanned out from the database."""
        self.is_too_large, self.version = True, None
        self.place = Place(VERSION_MAX, "", self.place.types_version)
        for each in (self._stored, self._opened, self._subscribed, self._ready):
            each.clear()

    def find(self, endpoint_id: str) -> StoredEndpoint | None:
        """The endpoint as it was read."""
        return self._stored.get(endpoint_id)

    def asking(self, event_type: str) -> Sequence[Asking] | None:
        """The endpoints that want events of the type, by subscription; None if a part is missing or they are many."""
        subscribed = [
            (each, self._subscribed[each]) for each in patterns_covering(event_type) if each in self._subscribed
        ]
        if self.version is None or sum(len(ids) for _, ids in subscribed) > NARROW_MAX:
            return None
        found: dict[str, Asking] = {}
        for pattern, ids in subscribed:  # the most specific pattern first
            for endpoint_id, subscription_id in ids.items():
                if endpoint_id not in found:
                    found[endpoint_id] = Asking(self._stored[endpoint_id], subscription_id, pattern)
        return sorted(found.values(), key=lambda each: each.subscription_id)

    def opened(self, stored: StoredEndpoint) -> Endpoint | None:
        """The endpoint, if it has been opened since it last changed."""
        return self._opened.get(stored.id) if self._stored.get(stored.id) is stored else None

    def keep_opened(self, stored: StoredEndpoint, endpoint: Endpoint) -> None:
        """Keep an opened endpoint, unless it has changed meanwhile."""
        if self._stored.get(stored.id) is stored:
            self._opened[stored.id] = endpoint

    def ready(self, event_type: str) -> tuple[Subscription, ...] | None:
        """The subscriptions of those asking, all opened; None if that is not known yet."""
        return self._ready.get(event_type)

    def keep_ready(self, event_type: str, subscriptions: tuple[Subscription, ...], version: int | None) -> None:
        """Keep what ``ready`` returns, unless the directory has changed since ``version``."""
        if self.version is not None and self.version == version:
            self._ready[event_type] = subscriptions

    def _add(self, endpoint: StoredEndpoint) -> None:
        self._stored[endpoint.id] = endpoint
        for subscription_id, pattern in endpoint.subscriptions:
            ids = self._subscribed.setdefault(pattern, {})
            ids[endpoint.id] = min(subscription_id, ids.get(endpoint.id, subscription_id))

    def _remove(self, endpoint_id: str) -> None:
        known = self._stored.pop(endpoint_id, None)
        self._opened.pop(endpoint_id, None)
        for _, pattern in known.subscriptions if known is not None else ():
            ids = self._subscribed.get(pattern, {})
            ids.pop(endpoint_id, None)
            if not ids:
                self._subscribed.pop(pattern, None)


def let_through(subscriptions: tuple[Subscription, ...], body: bytes, now: datetime) -> tuple[Subscription, ...]:
    """Those whose endpoint has not expired, and whose filter lets the event through.

    ``body`` is the event's envelope. It is decoded once, and only if there is a filter.
    """
    if all(each.endpoint.filter is None and each.endpoint.valid_until is None for each in subscriptions):
        return subscriptions
    subscriptions = tuple(each for each in subscriptions if not each.endpoint.has_expired(now))
    if all(each.endpoint.filter is None for each in subscriptions):
        return subscriptions
    envelope = decode_envelope(body)
    return tuple(each for each in subscriptions if _passes(each, envelope))


def _passes(subscription: Subscription, envelope: Mapping[str, Any]) -> bool:
    wanted = subscription.endpoint.filter
    return wanted is None or wanted.judge(envelope) is None
