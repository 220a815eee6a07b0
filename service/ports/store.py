"""The store: recorded events, deliveries and attempts, and who subscribed to what."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from service.core.deliveries.allowance import Grant
from service.core.deliveries.delivery import Delivery, DeliveryKey, Lease, NewDelivery
from service.core.deliveries.fairness.fair_share import Turn
from service.core.deliveries.settlement import Settled
from service.core.endpoints.directory import DirectoryPage, Place
from service.core.endpoints.endpoint import StoredEndpoint
from service.core.endpoints.view import RemovalReason
from service.core.events.event import Event
from service.core.replays.job import ReplayState


class Disposition(StrEnum):
    """What the store did with an event. CONFLICT: a different event with the same id was recorded first."""

    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Recording(Struct, frozen=True, gc=False):
    """An event and its deliveries, fanned out with version ``directory_version`` of the directory.

    Without a version it is recorded whatever the directory's is. If ``is_deferred``, it has no deliveries yet: its
    fan-out is done later, to those who have subscribed by now.
    """

    uid: UUID
    event: Event
    directory_version: int | None
    deliveries: tuple[NewDelivery, ...] = ()
    is_deferred: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """The result of a batch: each recording's disposition, in order, and the deliveries now leased to this worker.

    ``stale`` are the organizations whose directory has another version than their recordings: of these nothing was
    recorded, and their dispositions are None.
    """

    dispositions: tuple[Disposition | None, ...]
    leased: frozenset[DeliveryKey]
    stale: frozenset[str] = frozenset()


class Asking(Struct, frozen=True, gc=False):
    """An endpoint that asks for an event through this subscription, if its filter (JSON as text) lets it through.

    ``order_by`` is as in ``Endpoint``; ``line``, where the delivery queues, is for ``Choose`` to say.
    """

    endpoint_id: str
    subscription_id: int
    filter: str | None
    order_by: str | None = None
    line: UUID | None = None


class FanOutStep(Struct, frozen=True, gc=False):
    """What one step did: how many endpoints asked for the event, and how many deliveries were made."""

    event_uid: UUID
    asking_count: int
    delivery_count: int


class ReplayStep(Struct, frozen=True, gc=False):
    """What one step of a replay job did. Without ``has_worked``, there was nothing that it could do now."""

    job_id: str
    state: ReplayState
    made_count: int = 0
    skipped_count: int = 0
    reason: str | None = None
    has_worked: bool = False


Choose = Callable[[bytes, Sequence[Asking]], Awaitable[Sequence[Asking]]]
"""Given an event's body: those of the asking endpoints that get the event."""


class Claimed(Struct, frozen=True, gc=False):
    """A claimed delivery, with the directory version at which its endpoint must be read.

    ``has_begun`` is about the lease that was taken over: whether ``begin`` was called for it. ``grant`` comes with the
    deliveries of limited endpoints: whoever settles the lease frees its place. ``line`` is the line that the delivery
    heads: whoever settles the lease advances it.
    """

    delivery: Delivery
    claim_number: int
    directory_version: int
    has_begun: bool = False
    grant: Grant | None = None
    line: UUID | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """The due deliveries. Gated ones wait for their endpoint, not for a worker, so they are counted separately.

    ``fan_out_count`` events are recorded, but not all of their deliveries are made.
    """

    due_count: int = 0
    oldest_due_age_seconds: float = 0.0
    gated_count: int = 0
    oldest_gated_age_seconds: float = 0.0
    gates: Mapping[str, int] = field(default_factory=dict)
    fan_out_count: int = 0


Shares = Callable[[Sequence[Turn]], Mapping[str, int]]
"""Given endpoints that have deliveries due: how many of each to claim, by id. Those left out get none."""


class DeliveryStore(Protocol):
    """The record of every event, delivery and attempt. Each verb is one transaction.

    Every verb may raise ``UnavailableError`` (try again later); ``record`` and ``settle`` also ``RefusedError``.
    """

    async def record(self, batch: Sequence[Recording]) -> Recorded:
        """Record new events and their deliveries; a known event is a no-op. A shut gate makes a delivery pending.

        An organization whose directory has changed keeps only its own events from being recorded.
        """

    async def claim_due(self, shares: Shares) -> Sequence[Claimed]:
        """Lease due deliveries to this worker, taking endpoints in turn and skipping gated ones.

        Calls ``shares`` once or several times, and claims at most what it granted last. An endpoint's own limits hold
        across all workers: if it allows nothing now, its deliveries are not due. Of those in a line only the head is.
        """

    async def claim_again(self, shares: Mapping[str, int]) -> Sequence[Claimed]:
        """The same for these limited endpoints only: cheap, however many others there are."""

    async def settle(self, batch: Sequence[Settled]) -> Sequence[bool]:
        """Record the attempts and move the deliveries. False marks a delivery that had moved on already."""

    async def begin(self, leases: Sequence[Lease]) -> Sequence[bool]:
        """Record that the POSTs of these leases are about to begin. False marks one that is not ``still_wanted``."""

    async def still_wanted(self, leases: Sequence[Lease]) -> Sequence[bool]:
        """Whether these may still be sent.

        False marks a lease that was lost, and one whose endpoint is gated, or may have changed since it was granted.
        """

    async def rescue(self, limit: int) -> Sequence[Claimed]:
        """Take over leases that have expired, so that they can be settled as lost."""

    async def now(self) -> datetime:
        """The database's clock."""

    async def backlog(self) -> Backlog:
        """Measure the backlog."""


class FanOutStore(Protocol):
    """The fan-outs that were deferred. Any number of workers share them."""

    async def next_organization(self, after: str, resting: Collection[str]) -> str | None:
        """The next organization after ``after`` with fan-outs, but those ``resting``. Raises ``UnavailableError``."""

    async def step(self, organization_id: str, limit: int, choose: Choose) -> FanOutStep | None:
        """Fan out the organization's oldest event to at most ``limit`` endpoints more; None if another worker does.

        One transaction: a process that dies in it leaves nothing behind, and nobody gets an event twice. Those who
        subscribed after the event was recorded do not get it, nor do those who have left since. Raises
        ``UnavailableError``, ``RefusedError``.
        """


class ReplayStore(Protocol):
    """The replay jobs that have not ended. Any number of workers share them."""

    async def next_organization(self, after: str, resting: Collection[str]) -> str | None:
        """The next organization after ``after`` with jobs to work on, but those ``resting``.

        Raises ``UnavailableError``.
        """

    async def step(self, organization_id: str, after: str) -> ReplayStep | None:
        """Take a step of the organization's next job after job ``after``; None if other workers are at all of them.

        One transaction makes deliveries, at most as many as the job's rate and its endpoint's window allow, and moves
        the cursor. So a process that dies in it leaves no gap and repeats nothing. A job that the database refuses
        ends as failed. Raises ``UnavailableError``.
        """


class SubscriptionStore(Protocol):
    """Who subscribed to what. Every verb may raise ``UnavailableError``."""

    async def load(self, places: Mapping[str, Place], *, endpoints_max: int) -> Sequence[DirectoryPage]:
        """What comes after each place in the directories of the organizations that exist, all from one snapshot.

        A page has at most ``endpoints_max`` endpoints, those removed included. Who reads page after page to the last
        one misses no change, whatever is committed meanwhile.
        """

    async def endpoints(self, endpoint_ids: Collection[str]) -> Sequence[tuple[str, StoredEndpoint]]:
        """Those of these endpoints that have not been removed, each after its organization."""

    async def ended(self, subscription_ids: Collection[int]) -> Mapping[int, RemovalReason]:
        """Those of these subscriptions that have ended, and why."""
