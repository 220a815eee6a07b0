"""What makes one command enough: PostgreSQL started for us, and a loopback AMQP endpoint."""
