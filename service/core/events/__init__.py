"""Events: the envelope, the registry of event types, and the message status derived from events."""
