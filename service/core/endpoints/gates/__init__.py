"""Gates: why an endpoint may not be attempted now, and what shuts them when it fails."""
