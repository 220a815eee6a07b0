"""The built-in event types, one file for each family."""
