"""What the service needs from the outside world, in its own words. Each Protocol has a conformance suite."""
