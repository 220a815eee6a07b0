"""``/v1/endpoints``."""
