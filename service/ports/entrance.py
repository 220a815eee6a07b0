"""The entrance: where events come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.core.events.registry import BINDINGS
from service.core.reason import ParkReason


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


PARKED_DELIVERY_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Topology:
    """The names, and the rules of the queues. A ``prefix`` of its own keeps one installation apart from another."""

    prefix: str = "posthorn"
    bindings: tuple[str, ...] = BINDINGS
    delivery_limit: int = 20
    """How often the broker takes a message back before it parks it: the backstop against a message that kills us."""

    @property
    def events_exchange(self) -> str:
        """The topic exchange that producers publish to; the routing key is the event type."""
        return f"{self.prefix}.events"

    @property
    def intake_queue(self) -> str:
        """The queue that workers share."""
        return f"{self.prefix}.intake"

    @property
    def parked(self) -> str:
        """Both the fanout exchange and the queue of what was set aside. Fanout: any routing key gets there."""
        return f"{self.prefix}.parked"

    @property
    def intake_arguments(self) -> Mapping[str, str | int]:
        """Replicated, and nothing leaves it for the parked queue before that queue has it (at-least-once)."""
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": self.delivery_limit,
            "x-dead-letter-exchange": self.parked,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",  # at-least-once dead-lettering demands it
        }

    @property
    def parked_arguments(self) -> Mapping[str, str | int]:
        """Replicated as well: what is parked waits for a human."""
        # Looking at a message and putting it back counts as a delivery, and RabbitMQ 4 drops it after 20 by default.
        return {"x-queue-type": "quorum", "x-delivery-limit": PARKED_DELIVERY_LIMIT}
