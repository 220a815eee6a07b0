"""A loopback AMQP 0-9-1 endpoint, so that the demo and the tests drive the production consumer over a socket.

It is *not* RabbitMQ: it runs in one process, keeps everything in memory, listens on 127.0.0.1 or ::1 only (it refuses
any other address), and accepts any user, password and virtual host. It supports what Posthorn and its tests use, and
behaves like RabbitMQ's quorum queues: topic, direct and fanout exchanges, confirms, mandatory, prefetch, multiple acks,
requeueing in order, the delivery limit and dead-lettering. It can also drop connections on request. One suite checks it
against RabbitMQ.
"""

from service.embedded.amqp.server import LoopbackBroker

__all__ = ["LoopbackBroker"]
