"""Event types of an organization's own: their schemas, and the bounds of what a schema may cost."""
