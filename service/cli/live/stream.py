"""The API's stream, opened again whenever it ends, and what came of that.

A stream that was lost is opened again with the last cursor: the service goes on after it, or says what it left out.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic
from typing import Any, Final

import aiohttp

from service.cli.live.messages import Message, MessageReader
from service.cli.remote.client import (
    CONNECT_SECONDS_MAX,
    ApiClient,
    ApiRefusalError,
    Query,
    UnreachableError,
    refusal,
)
from service.cli.terminal import CommandError
from service.core.endpoints.filter.filter import decode_envelope

PATH: Final = "/v1/stream"
SILENCE_SECONDS_MAX: Final = 45.0
"""The service shows every 15 s that the stream lives."""
BACKOFF_SECONDS: Final = 0.5
BACKOFF_SECONDS_MAX: Final = 30.0

_EVENT_STREAM: Final = "text/event-stream"
_KINDS: Final = {"event", "attempt", "gap", "closed"}
_GAPS: Final = {
    "slow": "more came than was taken",
    "too_old": "the connection was lost for too long",
    "too_much": "too much came while the connection was lost",
}
_LIMITS: Final = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS_MAX, sock_read=SILENCE_SECONDS_MAX)
_ANOTHER_KEY: Final = "Give another one; whoever runs the service makes it: posthorn keys create"
_KEY_ENDED: Final = {
    "key_revoked": f"The API key was revoked. {_ANOTHER_KEY}",
    "key_expired": f"The API key has expired. {_ANOTHER_KEY}",
}


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream is open. ``after_seconds`` it was away; None: it is open for the first time."""

    after_seconds: float | None

    @property
    def record(self) -> Mapping[str, Any]:
        """For scripts."""
        if self.after_seconds is None:
            return {"kind": "open"}
        return {"kind": "reconnected", "after_seconds": round(self.after_seconds, 1)}

    @property
    def sentence(self) -> str | None:
        """For people, if it is worth it."""
        if self.after_seconds is None:
            return None
        return f"reconnected after {self.after_seconds:.0f} s, going on where it stopped"  # else a gap is told next


@dataclass(frozen=True, slots=True)
class Lost:
    """The stream ended, and will be opened again."""

    why: str

    @property
    def record(self) -> Mapping[str, Any]:
        """For scripts."""
        return {"kind": "lost", "why": self.why}

    @property
    def sentence(self) -> str:
        """For people."""
        return f"connection lost, trying again: {self.why}"


@dataclass(frozen=True, slots=True)
class Gap:
    """The service left something out. ``events`` and ``deliveries`` are the lists that have it, None where none was."""

    reason: str
    events: str | None
    deliveries: str | None

    @property
    def record(self) -> Mapping[str, Any]:
        """For scripts."""
        return {"kind": "gap", "reason": self.reason, "events": self.events, "deliveries": self.deliveries}

    @property
    def sentence(self) -> str:
        """For people: why there is a gap."""
        return _GAPS.get(self.reason, self.reason)


@dataclass(frozen=True, slots=True)
class Told:
    """An event or an attempt: ``kind`` says which."""

    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A message that could not be read was left out. ``message`` is its kind, ``cursor`` its place in the stream."""

    message: str
    cursor: str

    @property
    def record(self) -> Mapping[str, Any]:
        """For scripts."""
        return {"kind": "skipped", "message": self.message, "cursor": self.cursor}

    @property
    def sentence(self) -> str:
        """For people."""
        return f"skipped a message that cannot be read: {self.message}, at {self.cursor or 'no cursor'}"


News = Opened | Lost | Gap | Told | Skipped


class Backoff:
    """Waits longer from failure to failure."""

    def __init__(self) -> None:
        self._failures = 0

    async def wait(self) -> None:
        """Wait after a failure."""
        self._failures = min(self._failures + 1, 10)
        longest = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS * 2.0**self._failures)
        await asyncio.sleep(longest * random.uniform(0.5, 1))  # noqa: S311 - spreads load, keeps no secret

    def reset(self) -> None:
        """Something worked."""
        self._failures = 0


def may_pass(error: Exception) -> bool:
    """Whether the same may work later."""
    if not isinstance(error, ApiRefusalError):
        return True
    return error.status == HTTPStatus.TOO_MANY_REQUESTS or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class Stream:
    """The stream of what ``query`` asks for."""

    def __init__(self, client: ApiClient, query: Query) -> None:
        self._client = client
        self._query = query
        self._cursor = ""
        self._was_open = False
        self._lost_at: float | None = None
        self._backoff = Backoff()

    async def news(self) -> AsyncGenerator[News]:
        """All that the stream says, for as long as the key is valid. Whoever takes it slowly slows nobody else.

        Raises ``CommandError`` if the stream cannot be opened at first, or may not be opened any more.
        """
        while True:
            why = "it ended"
            try:
                async with aclosing(self._messages()) as messages:
                    async for message in messages:
                        if opened := self._open():
                            yield opened
                        self._cursor = message.cursor  # first: what cannot be read is not asked for again
                        news = _read(message)
                        if isinstance(news, Lost):
                            why = news.why
                        elif news is not None:
                            self._backoff.reset()  # who is cut off every minute has not failed for long
                            yield news
            except (UnreachableError, ApiRefusalError, ValueError) as error:
                if not self._was_open or not may_pass(error):  # what never worked is better said at once
                    raise
                why = str(error)
            if self._lost_at is None:
                self._lost_at = monotonic()
                yield Lost(why)
            await self._backoff.wait()

    async def _messages(self) -> AsyncGenerator[Message]:
        headers = {"Accept": _EVENT_STREAM} | ({"Last-Event-ID": self._cursor} if self._cursor else {})
        async with self._client.opened("GET", PATH, query=self._query, headers=headers, limits=_LIMITS) as reply:
            if reply.status != HTTPStatus.OK or reply.content_type != _EVENT_STREAM:
                raise await refusal(reply, self._client.target)
            reader = MessageReader(self._cursor)
            async for chunk in reply.content.iter_any():
                for message in reader.feed(chunk):
                    yield message

    def _open(self) -> Opened | None:
        """Whether this is the first message of a stream: before it there is no cursor, and nothing to go on from."""
        was_open, lost_at = self._was_open, self._lost_at
        if was_open and lost_at is None:
            return None
        self._was_open, self._lost_at = True, None
        return Opened(None if lost_at is None else monotonic() - lost_at)


def _read(message: Message) -> News | None:
    """What a message says; None if it only shows that the stream lives. Raises ``CommandError`` if the key ended."""
    if message.kind not in _KINDS:  # a comment, or what a later release says besides
        return None
    try:
        data = decode_envelope(message.data)
        match message.kind:
            case "gap":
                return Gap(data["reason"], data["events"], data["deliveries"])
            case "closed" if data["reason"] in _KEY_ENDED:
                raise CommandError(_KEY_ENDED[data["reason"]])
            case "closed":
                return Lost(f"the service closed it ({data['reason']})")
            case kind:
                return Told(kind, data)
    except (ValueError, KeyError, TypeError, RecursionError):
        return Skipped(message.kind, message.cursor)
