"""The decisions: pure functions and values. No input or output, no clock, no randomness."""
