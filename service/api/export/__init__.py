"""Lists as files: CSV and JSON lines."""
