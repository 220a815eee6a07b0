"""Random ids, such as ``ep_7k2m9x4c1v8b3n6h``."""

import secrets

# Crockford's base 32 in lower case: it has no letter that can be mistaken for a digit.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """A prefix followed by 80 random bits."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(16))}"
