"""Deliveries: their states and steps, the request, the reading of the reply and what follows from it.

Some ten of these values are made for each delivery, so they are msgspec structs: a tenth of a dataclass's cost, and
unknown to the garbage collector (``gc=False``), as no cycle can go through them. See docs/adr/0017.
"""
