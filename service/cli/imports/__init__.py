"""``import``: endpoints of other services, shown first and then taken over."""
