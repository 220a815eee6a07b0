"""The way out: one POST through a guarded dial, and the facts of what came back."""
