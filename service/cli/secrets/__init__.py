"""``secrets``: what SECRET_KEYS seals in the database."""
