"""The stream: one tail per process reads what was committed, and hands it to every listener."""
