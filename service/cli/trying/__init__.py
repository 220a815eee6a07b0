"""Trying webhooks by hand: sample events, signatures, and what a receiver answers."""
