"""Parked messages: what a person sees of one, and how it is mended."""
