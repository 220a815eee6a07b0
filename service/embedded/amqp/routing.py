"""Exchanges and bindings: which queues a message goes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from service.embedded.amqp.queues import Message, Queue
from service.embedded.amqp.wire import ChannelFault, ConnectionFault

KINDS = frozenset({"direct", "fanout", "topic"})


@dataclass(slots=True, eq=False)
class Exchange:
    """Routes by its kind. The exchange named "" is RabbitMQ's default: every queue is bound to it by its name."""

    name: str
    kind: str
    bindings: list[tuple[str, Queue]] = field(default_factory=list)

    def queues_for(self, routing_key: str) -> list[Queue]:
        """Return the queues that get a message with ``routing_key``, each once."""
        return list(dict.fromkeys(queue for pattern, queue in self.bindings if self._matches(pattern, routing_key)))

    def _matches(self, pattern: str, routing_key: str) -> bool:
        match self.kind:
            case "fanout":
                return True
            case "direct":
                return pattern == routing_key
            case _:
                return topic_matches(pattern.split("."), routing_key.split("."))


def topic_matches(pattern: list[str], words: list[str]) -> bool:
    """Match word by word: ``*`` stands for exactly one word, ``#`` for any number."""
    if not pattern:
        return not words
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(topic_matches(rest, words[at:]) for at in range(len(words) + 1))
    return bool(words) and first in {"*", words[0]} and topic_matches(rest, words[1:])


class Routes:
    """All exchanges and queues of the endpoint."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.exchanges: dict[str, Exchange] = {
            name: Exchange(name, kind)
            for name, kind in {"": "direct", **{f"amq.{kind}": kind for kind in KINDS}}.items()
        }

    def publish(self, message: Message) -> tuple[bool, bool]:
        """Put the message into every queue bound for it; returns whether there is one, and whether all took it."""
        queues = self.exchange(message.exchange).queues_for(message.routing_key)
        willing = [queue for queue in queues if not queue.refuses]
        for queue in willing:
            queue.push(message)
        return bool(queues), len(willing) == len(queues)

    def dead_letter(self, queue: Queue, message: Message, reason: str) -> None:
        """Send a message to the queue's dead-letter exchange; without one it is dropped, as in RabbitMQ."""
        exchange = self.exchanges.get(queue.arguments.get("x-dead-letter-exchange", ""))
        if "x-dead-letter-exchange" not in queue.arguments or exchange is None:
            return
        dead = message.dead_lettered(queue.name, reason)
        routing_key = queue.arguments.get("x-dead-letter-routing-key", message.routing_key)
        for target in exchange.queues_for(routing_key):
            target.push(Message(exchange.name, routing_key, dead.properties, dead.body))

    def exchange(self, name: str) -> Exchange:
        """Return a known exchange, or close the channel."""
        if name not in self.exchanges:
            raise ChannelFault(404, f"NOT_FOUND - no exchange '{name}' in vhost '/'")
        return self.exchanges[name]

    def queue(self, name: str) -> Queue:
        """Return a known queue, or close the channel."""
        if name not in self.queues:
            raise ChannelFault(404, f"NOT_FOUND - no queue '{name}' in vhost '/'")
        return self.queues[name]

    def declare_exchange(self, name: str, kind: str, *, passive: bool) -> None:
        """Create the exchange, or check it."""
        if passive or name in self.exchanges:
            there = self.exchange(name).kind
            if not passive and there != kind:
                raise _inequivalent("type", "exchange", name, kind, there)
        elif kind not in KINDS:
            raise ConnectionFault(503, f"COMMAND_INVALID - unknown exchange type '{kind}'")
        else:
            self.exchanges[name] = Exchange(name, kind)

    def declare_queue(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        passive: bool,
        is_durable: bool,
        is_exclusive: bool,
        owner: object,
    ) -> Queue:
        """Create the queue for a connection, or check it. A queue without a name is given one."""
        there = self.queues.get(name)
        if there is not None and there.is_exclusive and there.owner is not owner:
            raise ChannelFault(405, f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}'")
        if passive:
            return self.queue(name)
        if name in self.queues:
            _check_equivalent(self.queues[name], arguments, is_durable=is_durable)
            return self.queues[name]
        queue = Queue(name or f"amq.gen-{uuid4().hex}", arguments, self.dead_letter, is_durable, is_exclusive, owner)
        self.queues[queue.name] = queue
        self.bind(queue.name, "", queue.name)
        return queue

    def delete_exchange(self, name: str) -> None:
        """Delete the exchange, if it exists."""
        self.exchanges.pop(name, None)

    def delete_queue(self, name: str) -> Queue | None:
        """Delete the queue and its bindings, if it exists."""
        queue = self.queues.pop(name, None)
        for exchange in self.exchanges.values():
            exchange.bindings = [binding for binding in exchange.bindings if binding[1] is not queue]
        return queue

    def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Bind, unless bound already."""
        binding = (routing_key, self.queue(queue))
        bindings = self.exchange(exchange).bindings
        if binding not in bindings:
            bindings.append(binding)

    def unbind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Remove the binding, if it exists."""
        binding = (routing_key, self.queue(queue))
        bindings = self.exchange(exchange).bindings
        if binding in bindings:
            bindings.remove(binding)


def _check_equivalent(queue: Queue, arguments: Mapping[str, Any], *, is_durable: bool) -> None:
    if queue.is_durable != is_durable:
        raise _inequivalent("durable", "queue", queue.name, is_durable, queue.is_durable)
    for name in sorted({*queue.arguments, *arguments}):
        asked, there = arguments.get(name, "none"), queue.arguments.get(name, "none")
        if asked != there:
            raise _inequivalent(name, "queue", queue.name, asked, there)


def _inequivalent(what: str, kind: str, name: str, asked: object, there: object) -> ChannelFault:
    text = f"PRECONDITION_FAILED - inequivalent arg '{what}' for {kind} '{name}' in vhost '/'"
    return ChannelFault(406, f"{text}: received '{asked}' but current is '{there}'")
