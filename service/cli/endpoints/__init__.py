"""``endpoints``: the URLs that events go to."""
