"""``event-types``: what events can be subscribed to."""
