"""``replays``: deliveries made again, many at a time."""
