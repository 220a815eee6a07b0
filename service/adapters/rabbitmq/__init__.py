"""RabbitMQ: events come in through ``RabbitSource``; ``EventPublisher`` puts them there."""

from service.adapters.rabbitmq.publisher import EventPublisher, Publication, UnroutableError
from service.adapters.rabbitmq.source import RabbitSource
from service.adapters.rabbitmq.topology import Declare, Topology, TopologyError, declare_topology

__all__ = [
    "Declare",
    "EventPublisher",
    "Publication",
    "RabbitSource",
    "Topology",
    "TopologyError",
    "UnroutableError",
    "declare_topology",
]
