"""One channel: answers the client's methods, and keeps track of unacked deliveries."""

from collections.abc import Callable
from dataclasses import dataclass

import pamqp.frame
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Confirm, Exchange, Queue
from pamqp.commands import Channel as Method
from pamqp.frame import FrameTypes

from service.embedded.amqp import queues
from service.embedded.amqp.queues import Consumer, Message
from service.embedded.amqp.routing import Routes
from service.embedded.amqp.wire import ChannelFault, ConnectionFault, MessageHeader, content_bytes


@dataclass(frozen=True, slots=True)
class Unacked:
    """A delivered message that is not acked yet. It has no consumer if the client fetched it with basic.get."""

    queue: queues.Queue
    message: Message
    consumer: Consumer | None


class Channel:
    """The server's side of a channel. ``write`` puts bytes on the connection."""

    def __init__(self, number: int, routes: Routes, write: Callable[[bytes], None], connection: object) -> None:
        self._connection = connection
        self._number = number
        self._routes = routes
        self._write = write
        self._prefetch = 0
        self._confirms = False
        self._published_count = 0
        self._last_tag = 0
        self._unacked: dict[int, Unacked] = {}  # in the order of delivery
        self._consumers: dict[str, tuple[queues.Queue, Consumer]] = {}
        self._publishing: Basic.Publish | None = None
        self._header: MessageHeader | None = None
        self._body = bytearray()
        self.exclusive_queues: set[str] = set()

    def handle(self, frame: FrameTypes | MessageHeader) -> None:
        """Answer one frame. Raises ``ChannelFault``, ``ConnectionFault``."""
        match frame:
            case Basic.Publish():
                self._publishing, self._header = frame, None
            case MessageHeader():
                self._header, self._body = frame, bytearray()
                self._publish_if_complete()
            case ContentBody():
                self._body += frame.value
                self._publish_if_complete()
            case Basic.Ack() | Basic.Nack() | Basic.Reject():
                self._settle(frame)
            case Queue.Declare() | Queue.Bind() | Queue.Unbind() | Queue.Purge() | Queue.Delete():
                self._on_queue_method(frame)
            case Exchange.Declare() | Exchange.Delete():
                self._on_exchange_method(frame)
            case _:
                self._on_channel_method(frame)

    def close(self) -> None:
        """Stop delivering, and requeue unacked messages at the front, in their old order."""
        for tag in list(self._consumers):
            self._forget(tag)
        unacked, self._unacked = self._unacked, {}
        for queue in {id(entry.queue): entry.queue for entry in unacked.values()}.values():
            queue.put_back([entry.message for entry in unacked.values() if entry.queue is queue])

    def _on_channel_method(self, frame: FrameTypes | MessageHeader) -> None:
        match frame:
            case Basic.Qos():
                self._prefetch = frame.prefetch_count
                self._send(Basic.QosOk())
            case Basic.Consume():
                self._consume(frame)
            case Basic.Cancel():
                self._forget(frame.consumer_tag or "")
                self._answer(Basic.CancelOk(frame.consumer_tag), nowait=frame.nowait)
            case Basic.Get():
                self._get(frame)
            case Confirm.Select():
                self._confirms = True
                self._answer(Confirm.SelectOk(), nowait=frame.nowait)
            case Method.Flow():
                self._send(Method.FlowOk(frame.active))
            case _:
                raise ConnectionFault(540, f"NOT_IMPLEMENTED - {frame.name}: this is not RabbitMQ")

    def _on_exchange_method(self, frame: Exchange.Declare | Exchange.Delete) -> None:
        match frame:
            case Exchange.Declare():
                self._routes.declare_exchange(frame.exchange, frame.exchange_type, passive=frame.passive)
                self._answer(Exchange.DeclareOk(), nowait=frame.nowait)
            case Exchange.Delete():
                self._routes.delete_exchange(frame.exchange)
                self._answer(Exchange.DeleteOk(), nowait=frame.nowait)

    def _on_queue_method(self, frame: Queue.Declare | Queue.Bind | Queue.Unbind | Queue.Purge | Queue.Delete) -> None:
        match frame:
            case Queue.Declare():
                queue = self._routes.declare_queue(
                    frame.queue,
                    frame.arguments or {},
                    passive=frame.passive,
                    is_durable=frame.durable,
                    is_exclusive=frame.exclusive,
                    owner=self._connection,
                )
                if queue.is_exclusive:
                    self.exclusive_queues.add(queue.name)
                self._answer(Queue.DeclareOk(queue.name, queue.depth, len(queue.consumers)), nowait=frame.nowait)
            case Queue.Bind():
                self._routes.bind(frame.queue, frame.exchange, frame.routing_key)
                self._answer(Queue.BindOk(), nowait=frame.nowait)
            case Queue.Unbind():
                self._routes.unbind(frame.queue, frame.exchange, frame.routing_key)
                self._send(Queue.UnbindOk())
            case Queue.Purge():
                purged = self._routes.queue(frame.queue)
                count = purged.depth
                purged.returned.clear()
                purged.ready.clear()
                self._answer(Queue.PurgeOk(count), nowait=frame.nowait)
            case Queue.Delete():
                deleted = self._routes.delete_queue(frame.queue)
                for consumer in deleted.consumers if deleted else ():
                    consumer.cancel(consumer)
                self._answer(Queue.DeleteOk(deleted.depth if deleted else 0), nowait=frame.nowait)

    def _publish_if_complete(self) -> None:
        publishing, header = self._publishing, self._header
        if publishing is None or header is None:
            raise ConnectionFault(505, "UNEXPECTED_FRAME - content without basic.publish")
        if len(self._body) < header.body_size:
            return
        self._publishing = self._header = None
        message = Message(publishing.exchange, publishing.routing_key, header.properties, bytes(self._body))
        is_routed, is_taken = self._routes.publish(message)
        if publishing.mandatory and not is_routed:
            returned = Basic.Return(312, "NO_ROUTE", message.exchange, message.routing_key)
            self._write(content_bytes(self._number, returned, message.properties, message.body))
        if self._confirms:
            self._published_count += 1
            self._send(Basic.Ack(self._published_count) if is_taken else Basic.Nack(self._published_count))

    def _consume(self, frame: Basic.Consume) -> None:
        queue = self._routes.queue(frame.queue)
        tag = frame.consumer_tag or f"amq.ctag-{self._number}.{len(self._consumers)}"
        if tag in self._consumers:
            raise ConnectionFault(530, f"NOT_ALLOWED - attempt to reuse consumer tag '{tag}'")
        consumer = Consumer(tag, self._deliver, self._cancelled, self._prefetch, takes_without_ack=frame.no_ack)
        self._consumers[tag] = (queue, consumer)
        self._answer(Basic.ConsumeOk(tag), nowait=frame.nowait)
        queue.consumers.append(consumer)
        queue.dispatch()

    def _deliver(self, queue: queues.Queue, message: Message, consumer: Consumer) -> None:
        tag = self._new_tag(queue, message, consumer, is_settled=consumer.takes_without_ack)
        is_again = message.returned_count > 0
        delivery = Basic.Deliver(consumer.tag, tag, is_again, message.exchange, message.routing_key)
        self._write(content_bytes(self._number, delivery, message.delivered_properties(), message.body))

    def _forget(self, tag: str) -> None:
        if tag in self._consumers:
            queue, consumer = self._consumers.pop(tag)
            if consumer in queue.consumers:
                queue.consumers.remove(consumer)

    def _cancelled(self, consumer: Consumer) -> None:
        del self._consumers[consumer.tag]
        self._send(Basic.Cancel(consumer.tag, nowait=True))

    def _get(self, frame: Basic.Get) -> None:
        queue = self._routes.queue(frame.queue)
        if not queue.depth:
            self._send(Basic.GetEmpty())
            return
        message = queue.pop()
        tag = self._new_tag(queue, message, None, is_settled=frame.no_ack)
        is_again = message.returned_count > 0
        found = Basic.GetOk(tag, is_again, message.exchange, message.routing_key, queue.depth)
        self._write(content_bytes(self._number, found, message.delivered_properties(), message.body))

    def _new_tag(self, queue: queues.Queue, message: Message, consumer: Consumer | None, *, is_settled: bool) -> int:
        self._last_tag += 1
        if not is_settled:
            self._unacked[self._last_tag] = Unacked(queue, message, consumer)
            if consumer is not None:
                consumer.unacked_count += 1
        return self._last_tag

    def _settle(self, frame: Basic.Ack | Basic.Nack | Basic.Reject) -> None:
        entries = self._take_unacked(frame.delivery_tag or 0, multiple=getattr(frame, "multiple", False))
        for queue in {id(entry.queue): entry.queue for entry in entries}.values():
            messages = [entry.message for entry in entries if entry.queue is queue]
            if isinstance(frame, Basic.Ack):
                queue.dispatch()
            elif frame.requeue:
                queue.put_back(messages)
            else:
                for message in messages:
                    self._routes.dead_letter(queue, message, "rejected")
                queue.dispatch()

    def _take_unacked(self, tag: int, *, multiple: bool) -> list[Unacked]:
        """Remove unacked messages: one, or all up to ``tag`` (0 means all)."""
        if not multiple and tag not in self._unacked:
            raise ChannelFault(406, f"PRECONDITION_FAILED - unknown delivery tag {tag}")
        tags = [known for known in self._unacked if known <= (tag or self._last_tag)] if multiple else [tag]
        entries = [self._unacked.pop(known) for known in tags]
        for entry in entries:
            if entry.consumer is not None:
                entry.consumer.unacked_count -= 1
        return entries

    def _answer(self, frame: Frame, *, nowait: bool) -> None:
        if not nowait:
            self._send(frame)

    def _send(self, frame: Frame) -> None:
        self._write(pamqp.frame.marshal(frame, self._number))
