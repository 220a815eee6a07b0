"""The entrance: where events come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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
