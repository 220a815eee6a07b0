"""``parked``: messages that could not become events."""
