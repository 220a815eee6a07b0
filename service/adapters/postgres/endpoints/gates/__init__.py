"""Gates in PostgreSQL, and what shuts them when an endpoint fails."""
