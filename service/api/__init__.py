"""The HTTP face: the API (``make_api``) and, on a private port, health and metrics (``make_ops``)."""

from service.api.app import make_api
from service.api.ops import make_ops

__all__ = ["make_api", "make_ops"]
