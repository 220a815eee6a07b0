"""Links into this surface that work from where the caller stands."""

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
        """A path of this surface."""
        return f"{public_url(request, self._configured)}{PREFIX}{path}"

    def with_cursor(self, request: web.Request, path: str, cursor: str | None) -> str | None:
        """The same list at another cursor: all other parameters stay. None without a cursor."""
        if cursor is None:
            return None
        others = [(name, value) for name, value in request.query.items() if name != "cursor"]
        return f"{self.to(request, path)}?{urlencode([('cursor', cursor), *others])}"
