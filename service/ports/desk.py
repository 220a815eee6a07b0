"""The desk: what people ask and change, through the API, the command line or a page.

Every verb is about one organization, and may raise ``UnavailableError``. A wish that is not granted is a value.
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
"""Where a list of endpoints goes on: ``created_at`` and id of the last one shown."""


class EndpointDesk(Protocol):
    """Endpoints and their subscriptions. A change is in force, for every worker's next batch, when its verb returns."""

    async def create(self, organization_id: str, wish: EndpointWish) -> Registered | InvalidWish | NoSuchOrganization:
        """Make an endpoint; one that has the URL already stays as it is, and is answered without a secret."""

    async def subscribe(
        self, organization_id: str, wish: EndpointWish
    ) -> Registered | InvalidWish | NoSuchOrganization | OtherSecret:
        """Subscribe a URL to event types, through the endpoint it has, else through a new one.

        ``added`` is empty when it was subscribed to all of them already.
        """

    async def find(self, organization_id: str, endpoint_id: str) -> EndpointView | NoSuchEndpoint:
        """The endpoint, also when it is gone."""

    async def list(
        self,
        organization_id: str,
        *,
        url: str | None = None,
        state: EndpointState | None = None,
        limit: int,
        after: EndpointKeyset | None = None,
    ) -> Sequence[EndpointView]:
        """Endpoints, newest first, at most ``limit``. Removed ones are left out, but for those that are gone."""

    async def change(
        self, organization_id: str, endpoint_id: str, wish: EndpointWish
    ) -> EndpointView | EndpointRefusal:
        """Change what is given. An event type that is left out ends its subscription and what waits for it."""

    async def set_paused(
        self, organization_id: str, endpoint_id: str, *, is_paused: bool
    ) -> EndpointView | NoSuchEndpoint | EndpointGone:
        """Pause or resume."""

    async def rotate_secret(
        self, organization_id: str, endpoint_id: str, secret: str | None, overlap: timedelta
    ) -> Rotated | NoSuchEndpoint | EndpointGone | TooManySecrets | InvalidWish:
        """Give the endpoint a new secret, None for a random one. No older secret ends later than it would have."""

    async def remove(self, organization_id: str, endpoint_id: str) -> NoSuchEndpoint | None:
        """End the endpoint; a gone one leaves the list. A second time changes nothing."""

    async def unsubscribe(self, organization_id: str, subscription_id: int) -> bool:
        """End a subscription, its endpoint with the last one, and what waits for it. False when there is none."""

    async def own_event_types(self, organization_id: str) -> Sequence[str]:
        """The names of the event types that the organization registered itself."""


class HealthDesk(Protocol):
    """How endpoints fare."""

    async def of(self, organization_id: str, endpoint_ids: Sequence[str], since: datetime) -> Mapping[str, Health]:
        """The health of each endpoint; events received before ``since`` count only while they are being retried."""

    async def stats(self, organization_id: str, endpoint_id: str, since: datetime) -> Stats:
        """Counts over the deliveries of events received from ``since`` on, and over all that wait."""


class ResthookDesk(Protocol):
    """What RapidPro calls resthooks, walked by keyset in either direction."""

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
        """Active subscriptions, by (created_at, id); of one id or one resthook, when given."""

    async def list_events(
        self, organization_id: str, walk: Walk[UUID], *, resthook: str | None = None
    ) -> Sequence[ResthookEvent]:
        """Events, by uid; of one resthook, when given."""


class DeliveryDesk(Protocol):
    """Deliveries and their attempts."""

    async def list(
        self, wanted: DeliveryFilter, *, limit: int, before: DeliveryKey | None = None
    ) -> tuple[Sequence[DeliveryView], DeliveryKey | None]:
        """Deliveries, newest event first, and the key to go on from (None at the end)."""

    async def show(self, key: DeliveryKey, organization_id: str | None = None) -> DeliveryDetail | None:
        """One delivery with its attempts, of the organization where one is named."""


class ReplayDesk(Protocol):
    """New deliveries of old events."""

    async def replay(self, organization_id: str, key: DeliveryKey) -> DeliveryView | ReplayRefused | None:
        """Make a new delivery, pending and due now; None when the organization has no delivery ``key``."""


class EventDesk(Protocol):
    """Events, as they are stored."""

    async def list(
        self, wanted: EventFilter, *, limit: int, before: UUID | None = None
    ) -> tuple[Sequence[EventView], UUID | None]:
        """Events, newest first, and the uid to go on from (None at the end)."""

    async def find(self, organization_id: str, event_id: str) -> EventView | None:
        """The organization's event with this id."""

    async def about_message(self, organization_id: str, message_id: str) -> tuple[Sequence[EventView], bool]:
        """The events for a message, oldest first, and whether these are all of them."""


class StoryDesk(Protocol):
    """What became of one event."""

    async def read(self, organization_id: str, event_id: str) -> Story | None:
        """The story of the organization's event with this id; None where there is none."""


class EventTypeDesk(Protocol):
    """An organization's own event types. One is never changed and never removed."""

    async def find(self, organization_id: str, name: str) -> OwnTypeView | None:
        """The organization's own type of this name."""

    async def after(self, organization_id: str, name: str, limit: int) -> Sequence[OwnTypeView]:
        """Types whose names come after ``name``, in their order, at most ``limit``."""

    async def register(
        self, organization_id: str, name: str, description: str, schema: str
    ) -> tuple[Registration, OwnTypeView | None]:
        """Keep a type, unless its name is taken or there are as many as there may be; what is there now."""
