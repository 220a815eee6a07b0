"""Deliveries: their states and steps, the request, how the reply is read, and what follows from it.

Each delivery creates about ten of these values, so they are msgspec structs: a tenth of a dataclass's cost, and not
tracked by the garbage collector (``gc=False``), since no reference cycle can include them. See docs/adr/0017.
"""
