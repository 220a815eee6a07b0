"""``messages``: where a message stands, by its events."""
