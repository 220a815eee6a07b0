"""``audit``: who changed what."""
