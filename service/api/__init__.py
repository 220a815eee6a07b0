"""The HTTP API and, on a private port, health and metrics."""
