"""What the API stores about requests: keys, rate windows, answers by Idempotency-Key."""
