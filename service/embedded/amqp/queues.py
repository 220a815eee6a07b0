"""Messages, queues and consumers: delivery and requeueing."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from service.embedded.amqp.headers import decoded, with_headers


@dataclass(frozen=True, slots=True)
class Message:
    """A message in a queue. ``returned_count``: how often it was delivered and returned unacked."""

    exchange: str
    routing_key: str
    properties: bytes
    body: bytes
    returned_count: int = 0

    def delivered_properties(self) -> bytes:
        """What the consumer sees: the headers say how often the message was returned before."""
        if not self.returned_count:
            return self.properties
        return with_headers(self.properties, {"x-delivery-count": self.returned_count})

    def dead_lettered(self, queue: str, reason: str) -> "Message":
        """Return the copy for the dead-letter exchange, with RabbitMQ's x-death headers."""
        death = {
            "count": 1,
            "reason": reason,
            "queue": queue,
            "time": datetime.now(UTC),
            "exchange": self.exchange,
            "routing-keys": [self.routing_key],
        }
        readable = decoded(self.properties)
        earlier = ((readable and readable.headers) or {}).get("x-death")
        headers = {
            "x-first-death-reason": reason,
            "x-first-death-queue": queue,
            "x-first-death-exchange": self.exchange,
            "x-death": [death, *(earlier if isinstance(earlier, list) else [])],
        }
        return replace(self, properties=with_headers(self.properties, headers), returned_count=0)


@dataclass(slots=True, eq=False)
class Consumer:
    """A consumer of a queue; ``deliver`` and ``cancel`` write to its channel. A prefetch of 0 means no limit."""

    tag: str
    deliver: Callable[["Queue", Message, "Consumer"], None]
    cancel: Callable[["Consumer"], None]
    prefetch: int
    takes_without_ack: bool = False
    unacked_count: int = 0

    @property
    def has_room(self) -> bool:
        """Whether another message may be sent before an ack."""
        return self.takes_without_ack or self.prefetch == 0 or self.unacked_count < self.prefetch


@dataclass(slots=True, eq=False)
class Queue:
    """First in, first out; each message goes to one consumer, and consumers take turns."""

    name: str
    arguments: Mapping[str, Any]
    dead_letter: Callable[["Queue", Message, str], None]
    is_durable: bool = False
    is_exclusive: bool = False
    owner: object = None  # the connection that an exclusive queue belongs to
    returned: deque[Message] = field(default_factory=deque)  # given out before those that are ready
    ready: deque[Message] = field(default_factory=deque)
    consumers: deque[Consumer] = field(default_factory=deque)

    @property
    def depth(self) -> int:
        """How many messages wait to be given out."""
        return len(self.returned) + len(self.ready)

    @property
    def refuses(self) -> bool:
        """Whether it is full, and new messages are refused instead of old ones being dropped."""
        length_max = self.arguments.get("x-max-length")
        return (
            length_max is not None and self.depth >= length_max and self.arguments.get("x-overflow") == "reject-publish"
        )

    def push(self, message: Message) -> None:
        """Add a message at the end."""
        self.ready.append(message)
        self.dispatch()

    def put_back(self, messages: list[Message]) -> None:
        """Requeue unacked messages at the front, but behind those that were requeued before.

        A message returned more often than ``x-delivery-limit`` is dead-lettered instead.
        """
        limit = self.arguments.get("x-delivery-limit")
        staying: list[Message] = []
        for message in messages:
            returned = replace(message, returned_count=message.returned_count + 1)
            if limit is not None and returned.returned_count > limit:
                self.dead_letter(self, message, "delivery_limit")
            else:
                staying.append(returned)
        self.returned.extend(staying)
        self.dispatch()

    def dispatch(self) -> None:
        """Deliver while a consumer has room."""
        while self.depth and (consumer := self._next_consumer()) is not None:
            consumer.deliver(self, self.pop(), consumer)

    def pop(self) -> Message:
        """Take the next message; there must be one."""
        return (self.returned or self.ready).popleft()

    def _next_consumer(self) -> Consumer | None:
        for _ in range(len(self.consumers)):
            consumer = self.consumers[0]
            self.consumers.rotate(-1)
            if consumer.has_room:
                return consumer
        return None
