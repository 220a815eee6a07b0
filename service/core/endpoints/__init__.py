"""Endpoints: what one may be, who subscribed to what, and what an event must be to be wanted."""
