"""A loopback AMQP 0-9-1 endpoint, so that the demo and the tests drive the production consumer over a socket.

It is *not* RabbitMQ: one process, in memory, on 127.0.0.1 or ::1 only (it refuses any other address), any user and
password, any virtual host, nothing survives it. It speaks what Posthorn and its tests use, the way RabbitMQ's quorum
queues answer it: topic, direct and fanout exchanges, confirms, mandatory, prefetch, multiple acks, requeueing in order,
the delivery limit and dead-lettering; and it can drop connections on request. One suite checks it against RabbitMQ.
"""

from service.embedded.amqp.server import LoopbackBroker

__all__ = ["LoopbackBroker"]
