"""One package or module per external system. They do not import each other; ``app`` wires them together."""
