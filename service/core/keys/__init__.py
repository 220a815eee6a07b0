"""API keys: what they are made of, what they may do, and what one may give to another."""
