"""Events: the envelope, the registry of types, and what is folded from events."""
