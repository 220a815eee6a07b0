"""The built-in event types, a file for each family."""
