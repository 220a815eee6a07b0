"""The audit log: who changed what, from where, and what it was before and after."""
