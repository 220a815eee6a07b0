"""RabbitMQ: events come in through ``RabbitSource``; ``EventPublisher`` puts them there."""
