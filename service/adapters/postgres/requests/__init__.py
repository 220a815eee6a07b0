"""What the API keeps of its requests: keys, rate windows, answers to Idempotency-Keys."""
