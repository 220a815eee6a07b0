"""The commands' client of the API: which API, with whose key, and how it is asked."""
