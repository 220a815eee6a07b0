"""The stream: what was committed, as it is told to whoever listens, and how far a listener has been told."""
