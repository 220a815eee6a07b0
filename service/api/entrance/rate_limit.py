"""Rate limits: from which bucket a request takes, and the headers that show it on every response."""

from dataclasses import dataclass
from math import ceil
from typing import Final

from aiohttp import web

from service.api.errors import ApiError, Code
from service.core.budget import HOUR_SECONDS, MINUTE_SECONDS, Budget
from service.core.keys.api_key import StoredKey
from service.ports.requests import RateBuckets, Taken

REQUESTS: Final = "requests"
"""The budget of an organization, for all but publishing."""
PUBLISHING: Final = "publishing"
"""The budget of an organization for publishing, so that what it does beside stops no producer, and the reverse."""
PAGES: Final = "pages"
"""The budget of an organization for the pages, so that whoever looks at them stops no program, and the reverse."""
PAGES_PER_MINUTE: Final = 300
KEY: Final = "key"
"""The budget of a key with a limit of its own, for all that it does."""

_PAGES: Final = Budget(PAGES, PAGES_PER_MINUTE, MINUTE_SECONDS)
_PER: Final = {HOUR_SECONDS: "hour", MINUTE_SECONDS: "minute"}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Where a caller stands in the budget that its request was counted in."""

    budget: Budget
    taken: Taken

    @property
    def remaining(self) -> int:
        """How many more requests may be made at once."""
        return self.budget.left(self.taken.used)

    @property
    def more_in_seconds(self) -> int:
        """When there will be one more."""
        return self.budget.more_in_seconds(self.taken.used)

    @property
    def reset(self) -> int:
        """The same, in Unix seconds, rounded up."""
        return ceil(self.taken.at.timestamp()) + self.more_in_seconds

    def admit(self) -> None:
        """Let the request pass. Raises ``ApiError`` (429)."""
        if self.taken.is_refused:
            seconds, budget = self.more_in_seconds, self.budget
            sentence = f"limit of {budget.requests} requests per {_PER[budget.window_seconds]} reached; "
            sentence += f"try again in {seconds} second{'' if seconds == 1 else 's'}"
            raise ApiError(429, Code.RATE_LIMIT_EXCEEDED, sentence, headers={"Retry-After": str(seconds)})


RATE_LIMIT: Final = web.RequestKey("rate_limit", RateLimit)


class RateLimiter:
    """A key with a limit of its own has its own bucket; the others of an organization share two."""

    def __init__(self, buckets: RateBuckets, *, requests_per_hour: int, publishing_per_minute: int) -> None:
        self._buckets = buckets
        self._requests = Budget(REQUESTS, requests_per_hour, HOUR_SECONDS)
        self._publishing = Budget(PUBLISHING, publishing_per_minute, MINUTE_SECONDS)

    async def count(self, request: web.Request, key: StoredKey, *, is_publishing: bool) -> RateLimit:
        """Count the request, and attach its ``RateLimit`` for the headers."""
        bucket, budget = self._bucket(key, is_publishing)
        standing = RateLimit(budget, await self._buckets.take(bucket, budget, key.key_id))
        request[RATE_LIMIT] = standing
        return standing

    async def count_page(self, request: web.Request, organization_id: str) -> RateLimit:
        """Count a request for a page, and attach its ``RateLimit`` for the headers."""
        standing = RateLimit(_PAGES, await self._buckets.take(f"pages:{organization_id}", _PAGES, ""))
        request[RATE_LIMIT] = standing
        return standing

    def _bucket(self, key: StoredKey, is_publishing: bool) -> tuple[str, Budget]:  # noqa: FBT001 - private
        if key.rate_limit_per_hour is not None:
            return f"key:{key.counted_as or key.key_id}", Budget(KEY, key.rate_limit_per_hour, HOUR_SECONDS)
        if is_publishing:
            return f"publish:{key.organization_id}", self._publishing
        return f"org:{key.organization_id}", self._requests


async def show_rate_limit(request: web.Request, response: web.StreamResponse) -> None:
    """Add the rate limit headers, to errors too. aiohttp calls this for sub-applications as well.

    ``RateLimit`` and ``RateLimit-Policy`` are those of draft-ietf-httpapi-ratelimit-headers-10, structured fields.
    """
    standing = request.get(RATE_LIMIT)
    if standing is not None:
        budget, remaining, seconds = standing.budget, standing.remaining, standing.more_in_seconds
        response.headers["X-RateLimit-Limit"] = str(budget.requests)
        response.headers["X-RateLimit-Remaining"] = str(remaining)
        response.headers["X-RateLimit-Reset"] = str(standing.reset)
        response.headers["RateLimit-Policy"] = f'"{budget.name}";q={budget.requests};w={budget.window_seconds}'
        response.headers["RateLimit"] = f'"{budget.name}";r={remaining};t={seconds}'
