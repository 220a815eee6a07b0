"""Which events an endpoint wants: its filter, the clauses in it, and the paths that they look at."""
