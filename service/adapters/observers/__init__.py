"""Observers of the flow: metrics, logs, and all of them as one."""
