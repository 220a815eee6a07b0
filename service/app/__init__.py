"""The running service: assembled, listening, supervised."""
