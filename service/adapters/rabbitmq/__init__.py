"""RabbitMQ: ``RabbitSource`` consumes events; ``EventPublisher`` publishes them."""
