"""API keys: made, listed, rotated and revoked by keys of scope ``admin``."""
