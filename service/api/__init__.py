"""The HTTP face: the API and, on a private port, health and metrics."""
