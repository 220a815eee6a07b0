"""Deliveries: their states and steps, the request, the reading of the reply and what follows from it."""
