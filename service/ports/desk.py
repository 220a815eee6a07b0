"""The desk: what people look up and change through the API, the command line or a page.

Every verb concerns one organization and may raise ``UnavailableError``. A refused request is returned as a value.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from service.core.deliveries.delivery import DeliveryKey
from service.core.deliveries.story import Story
from service.core.deliveries.view import DeliveryDetail, DeliveryFilter, DeliveryView, ReplayRefused
from service.core.endpoints.health import Health, Stats
from service.core.endpoints.refusals import (
    EndpointGone,
    EndpointRefusal,
    InvalidWish,
    NoSuchEndpoint,
    NoSuchOrganization,
    OtherSecret,
    TooManySecrets,
)
from service.core.endpoints.settings import EndpointWish
from service.core.endpoints.view import (
    EndpointState,
    EndpointView,
    Registered,
    Resthook,
    ResthookEvent,
    Rotated,
    Subscriber,
    Walk,
)
from service.core.events.view import EventFilter, EventView, OwnTypeView, Registration

EndpointKeyset = tuple[datetime, str]
"""Where a list of endpoints continues: ``created_at`` and id of the last endpoint shown."""


class EndpointDesk(Protocol):
    """Endpoints and their subscriptions. When a verb returns, its change applies to every worker's next batch."""

    async def create(self, organization_id: str, wish: EndpointWish) -> Registered | InvalidWish | NoSuchOrganization:
        """Create an endpoint. If one has the URL already, it stays unchanged and is returned without a secret."""

    async def subscribe(
        self, organization_id: str, wish: EndpointWish
    ) -> Registered | InvalidWish | NoSuchOrganization | OtherSecret:
        """Subscribe a URL to event types, through its existing endpoint or a new one.

        ``added`` is empty if the URL was subscribed to all of them already.
        """

    async def find(self, organization_id: str, endpoint_id: str) -> EndpointView | NoSuchEndpoint:
        """The endpoint, even if it is gone."""

    async def list(
        self,
        organization_id: str,
        *,
        url: str | None = None,
        state: EndpointState | None = None,
        limit: int,
        after: EndpointKeyset | None = None,
    ) -> Sequence[EndpointView]:
        """Endpoints, newest first, at most ``limit``; without removed ones, but with those that are gone."""

    async def change(
        self, organization_id: str, endpoint_id: str, wish: EndpointWish
    ) -> EndpointView | EndpointRefusal:
        """Change the given fields. Leaving out an event type ends its subscription and cancels its deliveries."""

    async def set_paused(
        self, organization_id: str, endpoint_id: str, *, is_paused: bool
    ) -> EndpointView | NoSuchEndpoint | EndpointGone:
        """Pause or resume."""

    async def rotate_secret(
        self, organization_id: str, endpoint_id: str, secret: str | None, overlap: timedelta
    ) -> Rotated | NoSuchEndpoint | EndpointGone | TooManySecrets | InvalidWish:
        """Add a new secret (None: a random one). Older secrets expire after ``overlap``, or sooner if already due."""

    async def remove(self, organization_id: str, endpoint_id: str) -> NoSuchEndpoint | None:
        """Remove the endpoint, also from the list if it is gone. Repeating this changes nothing."""

    async def unsubscribe(self, organization_id: str, subscription_id: int) -> bool:
        """End a subscription and cancel its deliveries; the last one ends its endpoint. False if it does not exist."""

    async def own_event_types(self, organization_id: str) -> Sequence[str]:
        """The names of the event types that the organization registered."""


class HealthDesk(Protocol):
    """The health of endpoints."""

    async def of(self, organization_id: str, endpoint_ids: Sequence[str], since: datetime) -> Mapping[str, Health]:
        """The health of each endpoint; events received before ``since`` count only while they are being retried."""

    async def stats(self, organization_id: str, endpoint_id: str, since: datetime) -> Stats:
        """Counts over the deliveries of events received since ``since``, and over all open deliveries."""


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

    async def list(
        self, wanted: DeliveryFilter, *, limit: int, before: DeliveryKey | None = None
    ) -> tuple[Sequence[DeliveryView], DeliveryKey | None]:
        """Deliveries, newest event first, and the key to continue from (None at the end)."""

    async def show(self, key: DeliveryKey, organization_id: str | None = None) -> DeliveryDetail | None:
        """One delivery with its attempts, restricted to the organization if one is given."""


class ReplayDesk(Protocol):
    """New deliveries of old events."""

    async def replay(self, organization_id: str, key: DeliveryKey) -> DeliveryView | ReplayRefused | None:
        """Create a new delivery, pending and due now; None if the organization has no delivery ``key``."""


class EventDesk(Protocol):
    """Events, as they are stored."""

    async def list(
        self, wanted: EventFilter, *, limit: int, before: UUID | None = None
    ) -> tuple[Sequence[EventView], UUID | None]:
        """Events, newest first, and the uid to continue from (None at the end)."""

    async def find(self, organization_id: str, event_id: str) -> EventView | None:
        """The organization's event with this id; None if it does not exist."""

    async def about_message(self, organization_id: str, message_id: str) -> tuple[Sequence[EventView], bool]:
        """The events for a message, oldest first, and whether the list is complete."""


class StoryDesk(Protocol):
    """What became of one event."""

    async def read(self, organization_id: str, event_id: str) -> Story | None:
        """The story of the organization's event with this id; None if it does not exist."""


class EventTypeDesk(Protocol):
    """An organization's own event types. They are never changed or removed."""

    async def find(self, organization_id: str, name: str) -> OwnTypeView | None:
        """The organization's own event type with this name; None if it does not exist."""

    async def after(self, organization_id: str, name: str, limit: int) -> Sequence[OwnTypeView]:
        """The event types after ``name``, sorted by name, at most ``limit``."""

    async def register(
        self, organization_id: str, name: str, description: str, schema: str
    ) -> tuple[Registration, OwnTypeView | None]:
        """Register a type, unless the name is taken or the limit reached; returns the type now under this name."""
