"""``verify: true``: the receiver at the URL must send a challenge back before the endpoint is stored.

Anybody with a key could use this to send requests somewhere, so it is bounded: one try of some seconds through the
guarded exit, so many an hour for an organization, and so many at once in a process.
"""

import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Final

from service.api.errors import RETRY_AFTER_SECONDS, ApiError, Code
from service.api.operation import Call
from service.core.budget import HOUR_SECONDS, Budget
from service.core.deliveries.ownership import challenge_request, complaint_about
from service.core.endpoints.settings import EndpointSettings, EndpointWish
from service.ports.desk import CheckOwnership
from service.ports.exit import Sender
from service.ports.requests import RateBuckets

CHALLENGES: Final = Budget("verifications", 30, HOUR_SECONDS)
"""Of an organization: enough to set endpoints up and try again, too few to scan or flood anybody."""
AT_ONCE_MAX: Final = 8
CHALLENGE_BYTES: Final = 24

_VERIFY: Final = "verify"


class Ownership:
    """Checks whether a URL is its owner's wish. ``now`` returns an aware UTC datetime."""

    def __init__(self, sender: Sender, buckets: RateBuckets, now: Callable[[], datetime]) -> None:
        self._sender = sender
        self._buckets = buckets
        self._now = now
        self._at_once = 0

    @asynccontextmanager
    async def asked(self, call: Call, wish: EndpointWish) -> AsyncIterator[tuple[EndpointWish, CheckOwnership | None]]:
        """The wish without ``verify``, and the check if that asks for it. Raises ``ApiError`` (429, 503)."""
        is_asked = wish.given.get(_VERIFY) is True
        wish = replace(wish, given={name: value for name, value in wish.given.items() if name != _VERIFY})
        if not is_asked:
            yield wish, None
            return
        if self._at_once >= AT_ONCE_MAX:
            sentence = "too many URLs are being verified now; try again"
            raise ApiError(503, Code.UNAVAILABLE, sentence, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        self._at_once += 1
        try:
            await self._count(call)
            yield wish, self._check
        finally:
            self._at_once -= 1

    async def _count(self, call: Call) -> None:
        taken = await self._buckets.take(f"verify:{call.organization_id}", CHALLENGES, call.key.key_id)
        if taken.is_refused:
            wait_seconds = CHALLENGES.more_in_seconds(taken.used)
            sentence = f"limit of {CHALLENGES.requests} verifications per hour reached; leave out verify, or "
            sentence += f"try again in {wait_seconds} seconds"
            raise ApiError(429, Code.RATE_LIMIT_EXCEEDED, sentence, headers={"Retry-After": str(wait_seconds)})

    async def _check(self, settings: EndpointSettings, signing_secrets: Sequence[str]) -> str | None:
        challenge = secrets.token_urlsafe(CHALLENGE_BYTES)
        request = challenge_request(settings, signing_secrets, challenge, f"msg_{uuid.uuid4().hex}", self._now())
        return complaint_about(await self._sender.send(request), challenge)
