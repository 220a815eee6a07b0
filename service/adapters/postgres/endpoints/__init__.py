"""Organizations, endpoints, secrets and subscriptions."""
