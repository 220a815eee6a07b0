"""Sending with a token: fetched through the same guarded exit, kept in memory, and refreshed before it expires."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hmac import compare_digest
from math import inf
from time import monotonic
from typing import Final

from msgspec.structs import replace

from service.core.deliveries.outcome import refuses_token
from service.core.deliveries.request import Fault, Reply, Request
from service.core.deliveries.token import Token, read_token, token_request
from service.core.endpoints.auth import OAuth2
from service.core.reason import Reason

TOKENS_KEPT_MAX: Final = 10_000
FAILURE_KEPT_SECONDS: Final = 5.0
"""How long nobody asks again after a failure, so that an endpoint's backlog does not fall upon its token server."""
RENEWED_AFTER_SECONDS: Final = 60.0
"""How old a token must be to be renewed because of a 401, so that one that refuses all calls for one a minute."""
_REFRESHED_AT: Final = 0.8  # of its lifetime, beside the deliveries: they use the old token meanwhile
_USED_UNTIL: Final = 0.95
_WORTH_BEGINNING: Final = 0.5  # of the receiver's timeout: what must be left of the lease when the token is there

Key = tuple[str, OAuth2]
"""An endpoint and its credentials: others never share a token, and changed credentials never use an old one."""


@dataclass(slots=True)
class _Kept:
    token: str = ""
    fetched_at: float = -inf
    refresh_at: float = -inf
    good_until: float = -inf
    failure: Fault | None = None
    failed_until: float = -inf
    fetching: "asyncio.Task[str | Fault] | None" = None


class Authorised:
    """Sends the requests of endpoints that ask for a token. One fetch at a time for each of them."""

    def __init__(
        self,
        send: Callable[[Request], Awaitable[Reply | Fault]],
        *,
        kept_max: int = TOKENS_KEPT_MAX,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """``send`` sends a request as it is, through the guard. The last ``kept_max`` (at least 1) tokens are kept."""
        self._kept_max = kept_max
        self._send = send
        self._clock = clock
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()

    async def send(self, request: Request, auth: OAuth2) -> Reply | Fault:
        """POST with the endpoint's token. If the receiver answers 401 to an old one, POST again with a new one.

        What keeps us from getting a token is a fault with a reason of its own, and the receiver hears nothing.
        """
        key = (request.endpoint_id, auth)
        ends_at = self._clock() + request.limit_seconds
        too_late_at = ends_at - _WORTH_BEGINNING * request.timeout_seconds
        token = await self._token(key, too_late_at)
        if isinstance(token, Fault):
            return token
        reply = await self._send_with(token, request, ends_at)
        if isinstance(reply, Fault) or not refuses_token(reply.status) or not self._has_aged(key, token):
            return reply
        newer = await self._token(key, too_late_at)
        return reply if isinstance(newer, Fault) else await self._send_with(newer, request, ends_at)

    async def close(self) -> None:
        """Cancel the fetches in progress."""
        tasks = [each.fetching for each in self._kept.values() if each.fetching is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_with(self, token: str, request: Request, ends_at: float) -> Reply | Fault:
        headers = {name: value for name, value in request.headers.items() if name.lower() != "authorization"}
        headers["Authorization"] = f"Bearer {token}"
        left_seconds = ends_at - self._clock()
        timeout_seconds = min(request.timeout_seconds, left_seconds)
        return await self._send(
            replace(request, headers=headers, auth=None, timeout_seconds=timeout_seconds, limit_seconds=left_seconds)
        )

    def _has_aged(self, key: Key, refused: str) -> bool:
        """Whether a receiver that refuses this token may like another one; if so, it is not used again."""
        kept = self._kept.get(key)
        if kept is None:
            return False
        if compare_digest(kept.token, refused):
            if self._clock() < kept.fetched_at + RENEWED_AFTER_SECONDS:
                return False
            kept.good_until = -inf
        return True

    async def _token(self, key: Key, too_late_at: float) -> str | Fault:
        found = self._find(key)
        if isinstance(found, asyncio.Task):
            await asyncio.wait({found}, timeout=too_late_at - self._clock())  # others wait for it, too: it goes on
            if found.done():
                found = Fault(Reason.INTERNAL, 0, "the sender was closed") if found.cancelled() else found.result()
        if isinstance(found, Fault) or (isinstance(found, str) and self._clock() <= too_late_at):
            return found
        return Fault(Reason.AUTH_UNAVAILABLE, 0, "the token came too late for this attempt")

    def _find(self, key: Key) -> "str | Fault | asyncio.Task[str | Fault]":
        """The token, or why there is none, or who is fetching it."""
        kept = self._kept.get(key)
        if kept is None:
            kept = self._keep(key)
        self._kept.move_to_end(key)
        now = self._clock()
        if now < kept.good_until:
            if now >= kept.refresh_at and kept.fetching is None:
                self._begin(key, kept)
            return kept.token
        if kept.failure is not None and now < kept.failed_until:
            return kept.failure
        return kept.fetching or self._begin(key, kept)

    def _keep(self, key: Key) -> _Kept:
        if len(self._kept) >= self._kept_max:
            self._kept.popitem(last=False)  # a fetch that it may have begun ends by itself
        return self._kept.setdefault(key, _Kept())

    def _begin(self, key: Key, kept: _Kept) -> "asyncio.Task[str | Fault]":
        kept.fetching = asyncio.create_task(self._fetch(key[1], kept))
        return kept.fetching

    async def _fetch(self, auth: OAuth2, kept: _Kept) -> str | Fault:
        try:
            asked_at = self._clock()
            try:
                found = read_token(await self._send(token_request(auth)))
            except Exception as error:  # noqa: BLE001  a delivery that raised would be tried by one worker after another
                found = Fault(Reason.INTERNAL, 0, f"asking for a token failed: {type(error).__name__}")
            now = self._clock()
            if isinstance(found, Token):
                kept.token, kept.failure, kept.fetched_at = found.text, None, now
                kept.refresh_at = asked_at + _REFRESHED_AT * found.lifetime_seconds
                kept.good_until = asked_at + _USED_UNTIL * found.lifetime_seconds
                return found.text
            kept.failure, kept.failed_until = found, now + FAILURE_KEPT_SECONDS
            kept.refresh_at = kept.failed_until
            return found
        finally:
            kept.fetching = None
