"""The desk: what people look up and change through the API, the command line or a page.

Every verb concerns one organization and may raise ``UnavailableError``. A refused request is returned as a value.
A verb that changes something takes ``by``, who asks for it, and enters the change in the audit log with it: neither is
there without the other. What was refused, or changed nothing, is not entered.
"""

from collections.abc import Awaitable, Callable, Collection, Container, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from service.core.audit.actor import Actor
from service.core.audit.entry import EntryFilter, EntryView
from service.core.deliveries.delivery import DeliveryKey
from service.core.deliveries.story import Story, StoryPage
from service.core.deliveries.view import DeliveryDetail, DeliveryFilter, DeliveryView, ReplayRefused
from service.core.endpoints.health import Health, Stats
from service.core.endpoints.refusals import (
    CapReached,
    Ended,
    EndpointRefusal,
    InvalidWish,
    NoSuchEndpoint,
    NoSuchOrganization,
    OtherSecret,
    OtherVersion,
    TooManySecrets,
    UrlTaken,
)
from service.core.endpoints.settings import EndpointSettings, EndpointWish
from service.core.endpoints.view import (
    LISTED,
    Changed,
    EndpointFilter,
    EndpointUrl,
    EndpointView,
    Registered,
    Resthook,
    ResthookEvent,
    Rotated,
    Subscriber,
)
from service.core.events.view import EventFilter, EventView, OwnTypeName, OwnTypeView, Registration
from service.core.keys.api_key import ListedKey, NewKey, StoredKey
from service.core.keys.grant import KeyEnded, KeyReplaced, KeyWish, TooManyKeys
from service.core.replays.job import (
    OrderRefused,
    ReplayCount,
    ReplayJob,
    ReplayOrder,
    ReplayState,
    ReplayWish,
    TooManyReplays,
)
from service.core.stats.overview import Overview, Sparkline
from service.core.stats.period import Period
from service.core.walk import Stretch, Walk

TimeKeyset = tuple[datetime, str]
"""Where a list that is ordered by time continues: the time and the id of the last one shown."""


CheckOwnership = Callable[[EndpointSettings, Sequence[str]], Awaitable[str | None]]
"""Asks the receiver of an endpoint with these settings and secrets; returns what is wrong, None if it has agreed."""


class EndpointDesk(Protocol):
    """Endpoints and their subscriptions. When a verb returns, its change applies to every worker's next batch."""

    async def create(
        self, organization_id: str, wish: EndpointWish, check_ownership: CheckOwnership | None = None, *, by: Actor
    ) -> Registered | InvalidWish | NoSuchOrganization | UrlTaken | CapReached:
        """Create an endpoint. If just such a one has the URL already, it is returned without a secret.

        With ``check_ownership`` a new URL's receiver is asked first; unless it agrees, nothing is created.
        """

    async def subscribe(
        self, organization_id: str, wish: EndpointWish, *, by: Actor
    ) -> Registered | InvalidWish | NoSuchOrganization | OtherSecret | CapReached:
        """Subscribe a URL to event types, through its existing endpoint or a new one.

        ``added`` is empty if the URL was subscribed to all of them already.
        """

    async def find(self, organization_id: str, endpoint_id: str) -> EndpointView | NoSuchEndpoint:
        """The endpoint, even if it is gone."""

    async def at(self, organization_id: str, url: str) -> EndpointView | None:
        """The endpoint with exactly this URL; None if there is none, or it is gone."""

    async def list(
        self,
        organization_id: str,
        walk: Walk[TimeKeyset],
        wanted: EndpointFilter = LISTED,
    ) -> Sequence[EndpointView]:
        """The endpoints that are wanted, by (created_at, id)."""

    async def list_urls(
        self,
        organization_id: str,
        walk: Walk[TimeKeyset],
        wanted: EndpointFilter = LISTED,
    ) -> Sequence[EndpointUrl]:
        """The same list with nothing but ids and masked URLs: no secret is opened, no subscription read."""

    async def change(
        self,
        organization_id: str,
        endpoint_id: str,
        wish: EndpointWish,
        check_ownership: CheckOwnership | None = None,
        *,
        only_at: Container[int] | None = None,
        by: Actor,
    ) -> Changed | EndpointRefusal:
        """Change the given fields. Leaving out an event type ends its subscription and cancels its deliveries.

        With ``check_ownership`` the receiver is asked first; unless it agrees, nothing is changed. ``only_at`` are the
        versions that the change is meant for. A wish for what there is changes nothing.
        """

    async def set_paused(
        self, organization_id: str, endpoint_id: str, *, is_paused: bool, by: Actor
    ) -> EndpointView | NoSuchEndpoint | Ended:
        """Pause or resume."""

    async def rotate_secret(
        self, organization_id: str, endpoint_id: str, secret: str | None, overlap: timedelta, *, by: Actor
    ) -> Rotated | NoSuchEndpoint | Ended | TooManySecrets | InvalidWish | CapReached:
        """Add a new secret (None: a random one). Older secrets expire after ``overlap``, or sooner if already due."""

    async def end_overlap(self, organization_id: str, endpoint_id: str, *, by: Actor) -> int | NoSuchEndpoint | Ended:
        """End the older secrets of a rotation now; returns how many. Without an overlap nothing changes."""

    async def begin_rehearsal(
        self, organization_id: str, endpoint_id: str, *, by: Actor
    ) -> EndpointView | NoSuchEndpoint | Ended:
        """Enter in the audit log that the endpoint's receiver is about to be rehearsed; nothing else changes."""

    async def remove(
        self, organization_id: str, endpoint_id: str, *, only_at: Container[int] | None = None, by: Actor
    ) -> NoSuchEndpoint | OtherVersion | None:
        """Remove the endpoint, also from the list if it is gone. Repeating this changes nothing."""

    async def unsubscribe(self, organization_id: str, subscription_id: int, *, by: Actor) -> bool:
        """End a subscription and cancel its deliveries; the last one ends its endpoint. False if it does not exist."""

    async def own_event_types(self, organization_id: str) -> Sequence[str]:
        """The names of the event types that the organization registered."""


class PublicKeyDesk(Protocol):
    """What receivers verify with. It is public: the one verb that names no organization."""

    async def of(self, endpoint_id: str) -> Sequence[str]:
        """The public keys (``whpk_``) that the endpoint's webhooks verify with now, newest first; () if it has none."""


class HealthDesk(Protocol):
    """The health of endpoints."""

    async def of(self, organization_id: str, endpoint_ids: Sequence[str], since: datetime) -> Mapping[str, Health]:
        """The health of each endpoint; events received before ``since`` count only while they are being retried."""

    async def stats(self, organization_id: str, endpoint_id: str, since: datetime) -> Stats:
        """Counts over the deliveries of events received since ``since``, and over all open deliveries."""


class StatsDesk(Protocol):
    """The figures of an organization and of its endpoints."""

    async def overview(self, organization_id: str, period: Period, endpoint_id: str | None = None) -> Overview:
        """The organization's figures, or those of one of its endpoints."""

    async def sparklines(self, organization_id: str, endpoint_ids: Sequence[str]) -> Mapping[str, Sparkline]:
        """The last 24 hours of each of these endpoints, by the hour; empty for one that does not exist."""


class ResthookDesk(Protocol):
    """What RapidPro calls resthooks, paged by keyset in either direction."""

    async def list_resthooks(self, organization_id: str, walk: Walk[tuple[datetime, str]]) -> Sequence[Resthook]:
        """Built-in and own types, by (modified_at, slug)."""

    async def list_subscribers(
        self,
        organization_id: str,
        walk: Walk[tuple[datetime, int]],
        *,
        subscriber_id: int | None = None,
        resthook: str | None = None,
    ) -> Sequence[Subscriber]:
        """Active subscriptions, by (created_at, id); only that id or that resthook, if given."""

    async def list_events(
        self, organization_id: str, walk: Walk[UUID], *, resthook: str | None = None
    ) -> Sequence[ResthookEvent]:
        """Events, by uid; only of that resthook, if given."""


class DeliveryDesk(Protocol):
    """Deliveries and their attempts."""

    async def list(self, wanted: DeliveryFilter, walk: Walk[DeliveryKey]) -> Stretch[DeliveryView, DeliveryKey]:
        """Deliveries, by their keys: in the order of their events."""

    async def show(self, key: DeliveryKey, organization_id: str | None = None) -> DeliveryDetail | None:
        """One delivery with its attempts, restricted to the organization if one is given."""


class ReplayDesk(Protocol):
    """New deliveries of old events."""

    async def replay(self, organization_id: str, key: DeliveryKey, *, by: Actor) -> DeliveryView | ReplayRefused | None:
        """Create a new delivery, pending and due now; None if the organization has no delivery ``key``."""


class ReplayJobDesk(Protocol):
    """Replay jobs. A worker does them."""

    async def count(self, organization_id: str, wish: ReplayWish) -> ReplayCount:
        """What a job would do; it stops counting after a second or so. Nothing is stored."""

    async def create(self, organization_id: str, wish: ReplayWish, *, by: Actor) -> ReplayJob | TooManyReplays:
        """Store a job. It deals with what has ended by now; one that finds no endpoint is done at once."""

    async def find(self, organization_id: str, job_id: str) -> ReplayJob | None:
        """The organization's job with this id; None if it does not exist."""

    async def list(
        self,
        organization_id: str,
        walk: Walk[TimeKeyset],
        *,
        states: Collection[ReplayState] = (),
    ) -> Sequence[ReplayJob]:
        """Jobs in these states (none: in any), by (created_at, id)."""

    async def order(
        self, organization_id: str, job_id: str, order: ReplayOrder, *, by: Actor
    ) -> ReplayJob | OrderRefused | None:
        """Pause, resume or cancel a job, once its current step is over; None if it does not exist."""


class EventDesk(Protocol):
    """Events, as they are stored."""

    async def list(self, wanted: EventFilter, walk: Walk[UUID]) -> Sequence[EventView]:
        """Events, by uid. Once their bodies come to ``PAGE_BYTES_MAX``, one more follows without its body."""

    async def bodies(self, organization_id: str, uids: Sequence[UUID]) -> Sequence[bytes | None]:
        """The body of the organization's event for each uid, None for one that is no longer stored.

        A uid that occurs again counts again. Once they come to ``PAGE_BYTES_MAX``, the remaining are left out.
        """

    async def find(self, organization_id: str, event_id: str) -> EventView | None:
        """The organization's event with this id; None if it does not exist."""

    async def about_message(self, organization_id: str, message_id: str) -> tuple[Sequence[EventView], bool]:
        """The events for a message, oldest first, and whether the list is complete."""

    async def messages_called(self, organization_id: str, external_id: str) -> Sequence[str]:
        """The ids of the messages with this external id, the newest first, at most ``MESSAGES_CALLED_MAX``."""


class StoryDesk(Protocol):
    """What became of one event."""

    async def read(self, organization_id: str, event_id: str, page: StoryPage) -> Story | None:
        """The story of the organization's event with this id, as far as the page; None if it does not exist."""


class EventTypeDesk(Protocol):
    """An organization's own event types. They are never changed or removed, but a sample may come later."""

    async def find(self, organization_id: str, name: str) -> OwnTypeView | None:
        """The organization's own event type with this name; None if it does not exist."""

    async def list(self, organization_id: str, walk: Walk[str]) -> Sequence[OwnTypeView]:
        """The event types, by name. Once they come to ``PAGE_BYTES_MAX``, the remaining have no schema."""

    async def list_names(self, organization_id: str, walk: Walk[str]) -> Sequence[OwnTypeName]:
        """The same, without what can be large."""

    async def register(
        self, organization_id: str, name: str, description: str, schema: str, sample: str | None, *, by: Actor
    ) -> tuple[Registration, OwnTypeView] | CapReached:
        """Register a type, unless the name is taken; returns the type now under this name."""

    async def add_sample(self, organization_id: str, name: str, sample: str, *, by: Actor) -> OwnTypeView | None:
        """Give the type a sample, unless it has one; returns the type now under this name."""


class KeyDesk(Protocol):
    """An organization's API keys."""

    async def find(self, key_id: str) -> StoredKey | None:
        """The key with this id, of any organization, even if expired or revoked."""

    async def page(self, organization_id: str, walk: Walk[TimeKeyset]) -> Sequence[ListedKey]:
        """The organization's keys, by (created_at, id), including ended ones."""

    async def show(self, organization_id: str, key_id: str) -> ListedKey | None:
        """The organization's key with this id; None if it does not exist."""

    async def create_key(
        self, organization_id: str, new: NewKey, wish: KeyWish, *, by: Actor
    ) -> ListedKey | TooManyKeys:
        """Store a key's digest; the organization must exist. What ended long ago, or before many others, goes."""

    async def rotate(
        self,
        organization_id: str,
        key_id: str,
        new: NewKey,
        *,
        overlap: timedelta,
        expires_in: timedelta | None,
        by: Actor,
    ) -> tuple[ListedKey, datetime] | KeyReplaced | KeyEnded | TooManyKeys | None:
        """Make ``new`` follow a key, which is valid for ``overlap`` longer, or less if it expires before.

        Returns the new key and when the old one ends; None if there is no such key. With ``expires_in`` None the new
        key expires when the old one would have.
        """

    async def revoke(self, key_id: str, organization_id: str | None = None, *, by: Actor) -> datetime | None:
        """Revoke a key at once; returns when it was first revoked.

        None if it does not exist, or does not belong to the organization, if one is given.
        """


class AuditDesk(Protocol):
    """The audit log. Every verb that changes something writes to it; nobody else does."""

    async def list(self, wanted: EntryFilter, walk: Walk[TimeKeyset]) -> Sequence[EntryView]:
        """Entries, by (at, id)."""
