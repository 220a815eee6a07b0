"""The demo: one command that shows the whole service at work, on parts of its own."""
