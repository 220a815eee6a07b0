"""Lists of the API: paged by keyset in either direction, filtered by several values."""
