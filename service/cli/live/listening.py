"""``listen``: events go to a URL on this machine, as they come."""

import asyncio
import json
import secrets
from base64 import b64encode
from collections.abc import Coroutine
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from service.cli.live.ending import ended, first_of
from service.cli.live.feed import Arrived, Feed, Wanted
from service.cli.live.forwarding import Forwarder
from service.cli.live.keyboard import Keyboard
from service.cli.live.lines import Lines
from service.cli.live.lines import as_json as as_record
from service.cli.live.screen import Screen
from service.cli.live.stream import Gap, Lost, Opened, Skipped
from service.cli.options import time_of
from service.cli.own_machine import require_allowed
from service.cli.remote.client import ApiClient
from service.cli.remote.target import ApiTarget
from service.cli.terminal import BAD_USAGE, CommandError, shown
from service.core.deliveries.outcome import Accepted
from service.core.endpoints.filter.filter import Filter, FilterRefused, parse_filter
from webhook_signature import VerificationError

FILTER_BYTES_MAX: Final = 256 * 1024
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Wish:
    """What to forward, where to, and how."""

    forward_to: str
    types: tuple[str, ...]
    filter: Filter
    since: datetime | None
    secret: str | None
    timeout_seconds: float
    at_once: int


def listen(target: ApiTarget, wish: Wish, *, as_json: bool) -> None:
    """Forward until somebody ends it. Raises ``CommandError``."""
    require_allowed(wish.forward_to, "--forward-to")
    secret = wish.secret or f"whsec_{b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"
    asyncio.run(_listen(target, wish, secret, as_json=as_json))


async def _listen(target: ApiTarget, wish: Wish, secret: str, *, as_json: bool) -> None:
    screen = Screen(as_json=as_json)
    async with AsyncExitStack() as stack:
        end = await stack.enter_async_context(ended())
        forwarder = await stack.enter_async_context(_forwarder(wish, secret))
        client = await stack.enter_async_context(ApiClient(target, on_wait=screen.notice))
        me = await client.get("/v1/me")
        session = _Session(screen, forwarder, Feed(client, Wanted(wish.types, wish.filter), wish.since))
        works: list[Coroutine[Any, Any, object]] = [session.forward(), session.show(), end.wait()]
        if screen.has_status:  # before it is shown which keys there are
            keyboard = await stack.enter_async_context(Keyboard(screen.redraw))
            works.append(session.heed(keyboard))
        stack.callback(session.end)
        session.begin(me["organization_id"], wish, secret)
        await first_of(*works)


def _forwarder(wish: Wish, secret: str) -> Forwarder:
    try:
        return Forwarder(wish.forward_to, secret, timeout_seconds=wish.timeout_seconds, at_once=wish.at_once)
    except VerificationError as error:
        raise CommandError(f"--secret: {error.detail}", BAD_USAGE) from None


class _Session:
    """One ``listen``: what goes where, and what is printed of it."""

    def __init__(self, screen: Screen, forwarder: Forwarder, feed: Feed) -> None:
        self._screen = screen
        self._forwarder = forwarder
        self._feed = feed
        self._accepted = self._failed = 0

    def begin(self, organization_id: str, wish: Wish, secret: str) -> None:
        """Say who is listened to, and what to verify with."""
        types = "all event types" if wish.types == ("*",) else ", ".join(wish.types)
        some = " that the filter lets through" if wish.filter.clauses else ""
        past = f", beginning with {wish.since.astimezone():%Y-%m-%d %H:%M:%S}" if wish.since is not None else ""
        given, whose = ("the given secret", "") if wish.secret else (secret, " (this session only)")
        self._screen.heading(
            [
                Text.assemble(("Listening", "bold"), f" for {shown(organization_id)}, {types}{some}{past}"),
                Text.assemble("Verify with ", (given, "blue"), (whose, "dim")),
                Text(""),
            ],
            {
                "kind": "listening",
                "organization_id": organization_id,
                "forward_to": wish.forward_to,
                "secret": None if wish.secret else secret,
            },
        )
        self._count()

    def end(self) -> None:
        """Leave the terminal in order."""
        self._screen.close()

    async def forward(self) -> None:
        """Forward each event as it comes; says what happens to the stream meanwhile."""
        async with aclosing(self._feed.items()) as items:
            async for item in items:
                match item:
                    case Arrived():
                        await self._forwarder.forward(item)
                    case Gap(events=str()):
                        self._screen.news(item.record, f"{item.sentence}; the rest is read from the list of events")
                    case Opened() | Lost() | Gap() | Skipped():
                        self._screen.news(item.record, item.sentence)

    async def show(self) -> None:
        """Print each answer."""
        while True:
            forwarded = await self._forwarder.answers.get()
            is_accepted = isinstance(forwarded.outcome, Accepted)
            self._accepted += is_accepted
            self._failed += not is_accepted
            self._screen.result(as_record(forwarded), partial(Lines.of_forwarded, forwarded=forwarded))
            self._count()

    async def heed(self, keyboard: Keyboard) -> None:
        """Do what the keys say; returns at q."""
        async for key in keyboard.until_quit():
            if key in {"r", "R"}:
                self._forwarder.resend()

    def _count(self) -> None:
        if self._screen.has_status:
            keys = Text.assemble(("r", "bold"), " resend last   ", ("q", "bold"), " quit")
            self._screen.stay(Text(f"{self._accepted} accepted, {self._failed} failed", "dim"), keys)


def check_filter(text: str | None) -> Filter:
    """A filter, as an endpoint has it, from JSON or from ``@FILE``. Raises ``CommandError``."""
    if text is None:
        return Filter(())
    try:
        value: Any = json.loads(_contents(text) if text.startswith("@") else text)
    except (ValueError, RecursionError):
        raise CommandError("--filter: is not JSON.", BAD_USAGE) from None
    parsed = parse_filter(value)
    if isinstance(parsed, FilterRefused):
        problems = "".join(f"\n  {path or 'filter'}: {problem}" for path, problem in parsed.problems.items())
        raise CommandError(f"--filter: cannot be used.{problems}", BAD_USAGE)
    return parsed


def check_since(text: str | None) -> datetime | None:
    """A time. Raises ``CommandError``."""
    return time_of(text, "--replay-since") if text is not None else None


def _contents(text: str) -> bytes:
    try:
        with Path(text[1:]).open("rb") as file:
            return file.read(FILTER_BYTES_MAX)
    except OSError as error:
        raise CommandError(f"--filter: {text[1:]}: {error.strerror}.", BAD_USAGE) from None
