"""``/v1/stats``: the figures of an organization and of its endpoints."""
