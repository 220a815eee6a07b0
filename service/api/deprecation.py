"""Operations that will end: the headers that say so on every answer, errors included (RFC 9745, RFC 8594)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final

from aiohttp import web

NOTICE: Final = timedelta(days=180)
"""How long at least what is deprecated stays."""


@dataclass(frozen=True, slots=True)
class Deprecation:
    """Since when an operation should not be used any more, and when it is removed (None: that is open).

    Both are aware. ``instead`` is the path of what to use, relative to the server: ``/docs#list_events``. Raises
    ValueError for a removal without due notice.
    """

    since: datetime
    sunset: datetime | None = None
    instead: str = "/docs"

    def __post_init__(self) -> None:
        if self.sunset is not None and self.sunset < self.since + NOTICE:
            raise ValueError(f"the sunset must come {NOTICE.days} days after the deprecation, or later")

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every answer."""
        headers = {"Deprecation": f"@{int(self.since.timestamp())}", "Link": f'<{self.instead}>; rel="deprecation"'}
        if self.sunset is not None:
            headers["Sunset"] = format_datetime(self.sunset.astimezone(UTC), usegmt=True)
        return headers


DEPRECATION: Final = web.RequestKey("deprecation", Deprecation)


async def show_deprecation(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers to the answer of a deprecated operation; aiohttp calls this for errors, too."""
    deprecation = request.get(DEPRECATION)
    if deprecation is not None:
        response.headers.update(deprecation.headers)
