"""The checks that every request with a key passes: authentication, rate limit, Idempotency-Key."""

from collections.abc import Callable
from datetime import datetime

from aiohttp import web

from service.api.entrance.auth import authenticate, key_of
from service.api.entrance.guesses import Guesses
from service.api.entrance.idempotency import Idempotency, Run
from service.api.entrance.rate_limit import RateLimit, RateLimiter
from service.core.keys.api_key import StoredKey
from service.ports.requests import KeyRing


class Entrance:
    """The checks, shared by both surfaces."""

    def __init__(
        self, keys: KeyRing, limiter: RateLimiter, idempotency: Idempotency, now: Callable[[], datetime]
    ) -> None:
        self._keys = keys
        self._guesses = Guesses(keys)
        self._limiter = limiter
        self._idempotency = idempotency
        self.now = now

    async def authenticate(self, request: web.Request) -> StoredKey:
        """Return the caller's key. Raises ``ApiError`` (400, 401, 429)."""
        return await authenticate(request, self._keys, self._guesses, self.now())

    async def key_of(self, text: str, remote: str | None) -> StoredKey:
        """Return the valid key with this text, which came from that address. Raises ``ApiError`` (401, 429)."""
        return await key_of(text, remote, self._keys, self._guesses, self.now())

    async def count(self, request: web.Request, key: StoredKey, *, is_publishing: bool = False) -> RateLimit:
        """Count the request in the budget that the response's headers show; the caller lets it pass, or not."""
        return await self._limiter.count(request, key, is_publishing=is_publishing)

    async def count_page(self, request: web.Request, organization_id: str) -> RateLimit:
        """The same for a page of the organization's, in a budget of their own."""
        return await self._limiter.count_page(request, organization_id)

    async def once(self, request: web.Request, key: StoredKey, body_bytes: bytes, run: Run) -> web.Response:
        """Run, or repeat the stored answer for this Idempotency-Key. Raises ``ApiError`` (400, 404, 409, 422)."""
        return await self._idempotency.once(request, key, body_bytes, run)
