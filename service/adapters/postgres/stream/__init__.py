"""What the stream reads."""
