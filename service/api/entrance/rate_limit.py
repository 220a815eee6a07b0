"""The hourly rate limit, shown on every response."""

import math
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from service.api.errors import ApiError, Code
from service.core.api_key import StoredKey
from service.ports.requests import RateWindows


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A caller's limit in this hour. ``reset`` is when the hour ends, in Unix seconds."""

    limit: int
    remaining: int
    reset: int


RATE_LIMIT: Final = web.RequestKey("rate_limit", RateLimit)


class RateLimiter:
    """A key with a limit of its own has its own bucket; the other keys of an organization share one."""

    def __init__(self, windows: RateWindows, limit_per_hour: int) -> None:
        self._windows = windows
        self._limit_per_hour = limit_per_hour

    async def count(self, request: web.Request, key: StoredKey) -> None:
        """Count the request and attach its ``RateLimit``. Raises ``ApiError`` (429)."""
        own = key.rate_limit_per_hour
        limit = self._limit_per_hour if own is None else own
        window = await self._windows.count(key.bucket, limit, key.key_id)
        request[RATE_LIMIT] = RateLimit(limit, max(0, limit - window.used), math.ceil(window.resets_at.timestamp()))
        if window.used > limit:
            wait_seconds = max(1, math.ceil(window.resets_in_seconds))  # Retry-After: whole seconds, not 0
            sentence = f"limit of {limit} requests per hour reached; try again in {wait_seconds} seconds"
            raise ApiError(429, Code.RATE_LIMIT_EXCEEDED, sentence, headers={"Retry-After": str(wait_seconds)})


async def show_rate_limit(request: web.Request, response: web.StreamResponse) -> None:
    """Add the rate limit headers, to errors too. aiohttp calls this for sub-applications as well."""
    standing = request.get(RATE_LIMIT)
    if standing is not None:
        response.headers["X-RateLimit-Limit"] = str(standing.limit)
        response.headers["X-RateLimit-Remaining"] = str(standing.remaining)
        response.headers["X-RateLimit-Reset"] = str(standing.reset)
