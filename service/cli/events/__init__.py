"""``events``: what was received."""
