"""Calling operations of ``/v1`` by name: over HTTP with a key, or beside the database. Both keep the same rules."""
