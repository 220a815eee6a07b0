"""The entrance: where events come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.core.events.event import Rejected
from service.core.events.registry import BINDINGS
from service.core.reason import ParkReason


@dataclass(slots=True)
class IncomingMessage:
    """A broker message that may carry an event.

    ``receipt`` is the source's own: the source needs it to ack the message, or to notice that its channel is closed.
    ``fault`` says why it cannot be an event, if the source knows before anyone has read the body.
    """

    body: bytes
    receipt: object
    message_id: str | None = None
    content_type: str | None = None
    is_redelivered: bool = False
    fault: Rejected | None = None


class EventSource(Protocol):
    """A broker queue, read in batches."""

    name: str

    @property
    def is_connected(self) -> bool:
        """Whether messages can arrive now."""

    async def run(self) -> None:
        """Connect, consume, and reconnect with backoff, without limit; returns after ``stop``."""

    async def next_batch(self, limit: int) -> Sequence[IncomingMessage]:
        """Wait for a message, then take what else has arrived, at most ``limit``. Empty only after ``stop``."""

    async def ack(self, batch: Sequence[IncomingMessage]) -> None:
        """Ack these messages, and no others. A lost channel is not an error: copies are deduplicated.

        A message that is being parked is left out. The source acks it once it is parked.
        """

    async def park(self, message: IncomingMessage, reason: ParkReason, detail: str) -> None:
        """Take a message over, to park its bytes with the reason. Returns at once, and raises nothing.

        While it cannot be parked it stays unacked, so that it is never lost, and is tried again; others go on.
        """

    async def stop(self) -> None:
        """Consume nothing more; messages already taken can still be acked until ``close``."""

    async def close(self) -> None:
        """Close the connection. Unacked messages go back to the queue."""


PARKED_DELIVERY_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Topology:
    """The names and arguments of the exchanges and queues. A distinct ``prefix`` separates two installations."""

    prefix: str = "posthorn"
    bindings: tuple[str, ...] = BINDINGS
    delivery_limit: int = 20
    """How often the broker requeues a message before it parks it: the safeguard against one that crashes workers."""

    @property
    def events_exchange(self) -> str:
        """The topic exchange that producers publish to; the routing key is the event type."""
        return f"{self.prefix}.events"

    @property
    def intake_queue(self) -> str:
        """The queue that all workers share."""
        return f"{self.prefix}.intake"

    @property
    def parked(self) -> str:
        """The name of both the fanout exchange and the queue of parked messages. Fanout takes any routing key."""
        return f"{self.prefix}.parked"

    @property
    def intake_arguments(self) -> Mapping[str, str | int]:
        """Replicated; a message is parked at least once: it leaves the queue only when the parked queue has it."""
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": self.delivery_limit,
            "x-dead-letter-exchange": self.parked,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",  # required by at-least-once dead-lettering
        }

    @property
    def parked_arguments(self) -> Mapping[str, str | int]:
        """Replicated as well: parked messages wait for a person."""
        # Reading a message and requeueing it counts as a delivery, and RabbitMQ 4 drops it after 20 by default.
        return {"x-queue-type": "quorum", "x-delivery-limit": PARKED_DELIVERY_LIMIT}
