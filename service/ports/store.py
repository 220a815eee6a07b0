"""The store: recorded events, deliveries and attempts, and who subscribed to what."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from service.core.deliveries.delivery import Delivery, DeliveryKey, Lease, NewDelivery
from service.core.deliveries.settlement import Settled
from service.core.endpoints.directory import StoredDirectory
from service.core.events.event import Event


class Disposition(StrEnum):
    """What the store did with an event. CONFLICT: a different event with the same id was recorded first."""

    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Recording(Struct, frozen=True, gc=False):
    """An event and its deliveries, fanned out with version ``directory_version`` of the directory."""

    uid: UUID
    event: Event
    directory_version: int
    deliveries: tuple[NewDelivery, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The result of a batch: each recording's disposition, in order, and the deliveries now leased to this worker."""

    dispositions: tuple[Disposition, ...]
    leased: frozenset[DeliveryKey]


@dataclass(frozen=True, slots=True)
class Stale:
    """Nothing was recorded: these organizations' directories have changed. Reload them and fan out again."""

    organization_ids: frozenset[str]


class Claimed(Struct, frozen=True, gc=False):
    """A claimed delivery, with the directory version at which its endpoint must be read."""

    delivery: Delivery
    claim_number: int
    directory_version: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """The due deliveries. Gated ones wait for their endpoint, not for a worker, so they are counted separately."""

    due_count: int = 0
    oldest_due_age_seconds: float = 0.0
    gated_count: int = 0
    oldest_gated_age_seconds: float = 0.0
    gates: Mapping[str, int] = field(default_factory=dict)


class DeliveryStore(Protocol):
    """The record of every event, delivery and attempt. Each verb is one transaction.

    Every verb may raise ``UnavailableError`` (try again later); ``record`` and ``settle`` also ``RefusedError``.
    """

    async def record(self, batch: Sequence[Recording]) -> Recorded | Stale:
        """Record new events and their deliveries; a known event is a no-op. A shut gate makes a delivery pending."""

    async def claim_due(self, limit: int, *, per_endpoint_limit: int, room: Mapping[str, int]) -> Sequence[Claimed]:
        """Lease due deliveries to this worker, taking endpoints in turn and skipping gated ones.

        ``room`` bounds single endpoints further; at zero or less, nothing is claimed for that endpoint.
        """

    async def settle(self, batch: Sequence[Settled]) -> Sequence[bool]:
        """Record the attempts and move the deliveries. False marks a delivery that had moved on already."""

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give back leases without an attempt; their deliveries are due at once."""

    async def rescue(self, limit: int) -> Sequence[Claimed]:
        """Take over leases that have expired, so that they can be settled as lost."""

    async def backlog(self) -> Backlog:
        """Measure the backlog."""


class RetentionStore(Protocol):
    """The daily partitions of events, deliveries and attempts."""

    async def keep_partitions(self) -> None:
        """Create the partitions of the days ahead and delete what is past retention. Safe to run concurrently."""


class SubscriptionStore(Protocol):
    """Who subscribed to what."""

    async def load(self, organization_ids: Collection[str]) -> Sequence[StoredDirectory]:
        """The directories of the organizations that exist."""
