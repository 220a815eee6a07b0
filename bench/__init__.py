"""The delivery benchmark and its published results."""
