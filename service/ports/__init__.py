"""What the service needs from the outside world, as Protocols in its own terms. Each has a conformance suite."""
