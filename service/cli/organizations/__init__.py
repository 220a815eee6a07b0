"""``organizations``: those there are."""
