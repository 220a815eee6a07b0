"""``/api/v2``: RapidPro's contract for resthooks, so that clients written for it work unchanged."""

from service.api.v2.links import PREFIX
from service.api.v2.surface import PAGE_SIZE, make_v2

__all__ = ["PAGE_SIZE", "PREFIX", "make_v2"]
