"""Events and event types."""
