"""Replay jobs: many deliveries of old events, made in order and at a rate."""
