"""Ended deliveries counted by hour, and the overview that is read from these counts and from what is open."""
