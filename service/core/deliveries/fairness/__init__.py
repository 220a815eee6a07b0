"""Fairness: who may hold how much of a worker, and whose turn it is. Start with ``lanes``, which the flow calls."""
