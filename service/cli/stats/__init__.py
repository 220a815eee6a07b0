"""``stats``: figures of deliveries over time."""
