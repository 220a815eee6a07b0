"""Who subscribes to what, as this process knows it."""
