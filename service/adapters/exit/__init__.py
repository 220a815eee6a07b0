"""The exit: one POST through a guarded dial, and the facts about the reply."""
