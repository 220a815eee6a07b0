"""Replay jobs in PostgreSQL: their rows, and the steps they are done in."""
