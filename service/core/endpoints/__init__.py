"""Endpoints: the settings they may have, their subscriptions, and the filters that events must pass."""
