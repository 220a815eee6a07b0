"""Running the service: what it needs, its schema, its settings, and a demonstration."""
