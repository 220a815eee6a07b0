"""``deliveries``: what was sent, and what was answered."""
