"""The checks that every request with a key passes: authentication, rate limit, Idempotency-Key."""
