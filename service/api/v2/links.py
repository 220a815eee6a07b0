"""Absolute links into this surface, with the base URL that the caller uses."""

from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from service.api.public_url import public_url

PREFIX: Final = "/api/v2"
"""Where the surface is mounted."""


class Links:
    """Builds absolute links. ``configured`` is PUBLIC_URL."""

    def __init__(self, configured: str | None) -> None:
        self._configured = configured

    def to(self, request: web.Request, path: str) -> str:
        """Link to a path of this surface."""
        return f"{public_url(request, self._configured)}{PREFIX}{path}"

    def with_cursor(self, request: web.Request, path: str, cursor: str | None) -> str | None:
        """Link to the same list at another cursor, keeping all other parameters. None without a cursor."""
        if cursor is None:
            return None
        others = [(name, value) for name, value in request.query.items() if name != "cursor"]
        return f"{self.to(request, path)}?{urlencode([('cursor', cursor), *others])}"
