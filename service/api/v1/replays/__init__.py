"""``/v1/replays``: replay jobs."""
