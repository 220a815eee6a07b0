"""What the flow needs from the outside world, in the flow's own words. Each Protocol has a conformance suite."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from service.core.delivery import Delivery, DeliveryKey, Lease, NewDelivery
from service.core.event import Event
from service.core.reason import ParkReason
from service.core.request import Fault, Reply, Request
from service.core.settlement import Settled
from service.core.subscription import StoredDirectory

# --------------------------------------------------------------------------- the entrance


@dataclass(slots=True)
class IncomingMessage:
    """A broker message that may carry an event.

    ``receipt`` belongs to the source: with it the source acks the message, or notices that its channel is gone.
    """

    body: bytes
    receipt: object
    message_id: str | None = None
    content_type: str | None = None
    is_redelivered: bool = False


class EventSource(Protocol):
    """A broker queue, read in batches."""

    name: str

    @property
    def is_connected(self) -> bool:
        """Whether messages can arrive right now."""

    async def run(self) -> None:
        """Connect, consume and reconnect for ever, with backoff; returns after ``stop``."""

    async def next_batch(self, limit: int) -> Sequence[IncomingMessage]:
        """Wait for one message, then take what else is waiting, at most ``limit``. Empty only after ``stop``."""

    async def ack(self, batch: Sequence[IncomingMessage]) -> None:
        """Let the broker forget ``batch`` and all before it. A lost channel is no error: the copies are known."""

    async def park(self, message: IncomingMessage, reason: ParkReason, detail: str) -> None:
        """Set the original bytes aside, confirmed, with the reason. The caller acks. Raises ``UnavailableError``."""

    async def stop(self) -> None:
        """Consume nothing more; what was taken can still be acked until ``close``."""

    async def close(self) -> None:
        """Hang up. What was not acked goes back to the queue."""


# --------------------------------------------------------------------------- the memory


class UnavailableError(Exception):
    """The database or the broker cannot be reached now; the same call may succeed later."""


class NotMigratedError(UnavailableError):
    """The database's schema is not this release's: a table or column is missing."""


class RefusedError(Exception):
    """The database refuses these rows, and would again: a fault of ours. Smaller batches find the culprit."""


class Verdict(StrEnum):
    """What recording an event came to."""

    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Recording:
    """An event and the deliveries it fans out to, decided against version ``directory_version`` of the directory."""

    uid: UUID
    event: Event
    directory_version: int
    deliveries: tuple[NewDelivery, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch: a verdict for each recording in order, and the deliveries now leased to this worker."""

    verdicts: tuple[Verdict, ...]
    leased: frozenset[DeliveryKey]


@dataclass(frozen=True, slots=True)
class Stale:
    """Nothing was recorded: these organizations' directories have changed. Load them again, fan out again."""

    organization_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Claim:
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

    async def claim_due(self, limit: int, *, per_endpoint_limit: int, room: Mapping[str, int]) -> Sequence[Claim]:
        """Lease due deliveries to this worker, endpoints in turn, gated endpoints left out.

        ``room`` bounds single endpoints further; at zero or less, nothing is claimed for one.
        """

    async def settle(self, batch: Sequence[Settled]) -> Sequence[bool]:
        """Record the attempts and move the deliveries. False marks one that had moved on without us."""

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back, due at once; nothing was attempted."""

    async def rescue(self, limit: int) -> Sequence[Claim]:
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


class SecretBox(Protocol):
    """Seals secrets at rest."""

    def seal(self, secret: str, *, organization_id: str, endpoint_id: str, secret_id: str) -> str:
        """Encrypt, bound to its row: a sealed secret moved to another row does not open."""

    def open(self, sealed: str, *, organization_id: str, endpoint_id: str, secret_id: str) -> str:
        """Decrypt. Raises ``SecretUnopenableError``."""


class SecretUnopenableError(Exception):
    """The sealed secret does not open: its key is missing from SECRET_KEYS, or the row was tampered with."""


# --------------------------------------------------------------------------- the exit


class Sender(Protocol):
    """Makes the attempt and reports facts; it judges nothing."""

    async def send(self, request: Request) -> Reply | Fault:
        """POST once, within the request's timeout. Never raises for anything the other side can cause."""


# --------------------------------------------------------------------------- the surroundings


class Clock(Protocol):
    """The worker's own clock."""

    def now(self) -> datetime:
        """An aware UTC instant."""

    def monotonic(self) -> float:
        """Seconds that never go backwards."""


Draw = Callable[[], float]
"""A number in [-1, 1): the jitter."""

NewUid = Callable[[], UUID]
"""A fresh UUIDv7."""

Pause = Callable[[float], Awaitable[None]]
"""Sleep for so many seconds; tests pass one that returns when they say so."""


class Observer(Protocol):
    """Is told what happened. Metrics, logs, and the tests' signals all listen to the same calls."""

    def event_received(self, source: str, outcome: str) -> None:
        """One event was taken in; ``outcome`` is a Verdict or "parked"."""

    def message_parked(self, reason: ParkReason, detail: str, message_id: str | None) -> None:
        """A broker message was set aside."""

    def message_redelivered(self) -> None:
        """The broker sent a message again."""

    def batch_recorded(self, event_count: int, delivery_count: int, seconds: float) -> None:
        """An intake batch was committed."""

    def attempt_settled(self, settled: Settled, *, moved: bool) -> None:
        """An attempt's outcome is committed; ``moved`` is False when the delivery had moved on without us."""

    def batch_settled(self, count: int, seconds: float) -> None:
        """A settle batch was committed."""

    def leases_rescued(self, count: int) -> None:
        """Expired leases were taken over."""

    def backlog_measured(self, backlog: Backlog) -> None:
        """What waits was counted."""

    def load_changed(self, in_flight: int, held: int, lane_states: Mapping[str, int]) -> None:
        """How busy this worker is: attempts in flight, leases held, lanes by state."""

    def trouble(self, where: str, error: BaseException, **context: object) -> None:
        """Something of ours failed and will be tried again."""
