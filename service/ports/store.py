"""The memory: what is recorded of events and deliveries, and who subscribed to what."""

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
    """What became of an event at the store. CONFLICT: another event was recorded first under its id."""

    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Recording(Struct, frozen=True, gc=False):
    """An event and the deliveries it fans out to, decided against version ``directory_version`` of the directory."""

    uid: UUID
    event: Event
    directory_version: int
    deliveries: tuple[NewDelivery, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch: each recording's disposition, in order, and the deliveries now leased to this worker."""

    dispositions: tuple[Disposition, ...]
    leased: frozenset[DeliveryKey]


@dataclass(frozen=True, slots=True)
class Stale:
    """Nothing was recorded: these organizations' directories have changed. Load them again, fan out again."""

    organization_ids: frozenset[str]


class Claimed(Struct, frozen=True, gc=False):
    """A delivery taken from the database, with the directory version its endpoint must be read at."""

    delivery: Delivery
    claim_number: int
    directory_version: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits. Gated deliveries wait for their endpoint, not for us, and are told apart."""

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
        """Keep new events and their deliveries; a known event is a no-op. Born leased only where no gate is shut."""

    async def claim_due(self, limit: int, *, per_endpoint_limit: int, room: Mapping[str, int]) -> Sequence[Claimed]:
        """Lease due deliveries to this worker, endpoints in turn, gated endpoints left out.

        ``room`` bounds single endpoints further; at zero or less, nothing is claimed for one.
        """

    async def settle(self, batch: Sequence[Settled]) -> Sequence[bool]:
        """Record the attempts and move the deliveries. False marks one that had moved on without us."""

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back, due at once; nothing was attempted."""

    async def rescue(self, limit: int) -> Sequence[Claimed]:
        """Take over leases that have expired, so that they can be settled as lost."""

    async def backlog(self) -> Backlog:
        """Measure what waits."""


class RetentionStore(Protocol):
    """The days that events, deliveries and attempts are kept in."""

    async def keep_partitions(self) -> None:
        """Create the partitions of the days ahead and forget what is past its time. Any worker may, at any time."""


class SubscriptionStore(Protocol):
    """Who subscribed to what."""

    async def load(self, organization_ids: Collection[str]) -> Sequence[StoredDirectory]:
        """The directories of those organizations that exist."""
