"""What lets one command run everything: a PostgreSQL server started on demand, and a loopback AMQP endpoint."""
