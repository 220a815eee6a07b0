"""Forwarding: an event is signed afresh with this session's secret and sent to the local URL, as a worker would.

Events begin in the order in which they come. At most so many are under way at once; whoever brings the next one waits.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self
from urllib.parse import urlsplit

from service.adapters.exit.sender import HttpSender
from service.cli.live.feed import Arrived
from service.cli.own_machine import OWN_MACHINE
from service.core.deliveries.headers import described
from service.core.deliveries.outcome import Outcome, classify
from service.core.deliveries.request import USER_AGENT, Fault, Reply, Request
from service.core.endpoints.endpoint import Endpoint, Secret
from service.core.reason import Reason
from webhook_signature.styles import STYLES

COUNTED_MAX: Final = 10_000
"""Of so many events it is known how often they were sent."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """An event was sent, and what came of it."""

    event: Arrived
    attempt_number: int
    sent_at: datetime
    answer: Reply | Fault
    outcome: Outcome
    where: str

    @property
    def why(self) -> str:
        """Why it failed, in a sentence; "" if it was accepted."""
        if self.outcome.reason is Reason.CONNECT_REFUSED:
            return f"nothing listens on {self.where}"
        return self.outcome.detail


class Forwarder:
    """``async with Forwarder(…)``: sends what ``forward`` is given; what came of it is in ``answers``."""

    def __init__(self, url: str, secret: str, *, timeout_seconds: float, at_once: int) -> None:
        """Raises ``VerificationError`` for a secret that cannot be used."""
        style = STYLES["standard"]
        self._endpoint = Endpoint("", "", url, (Secret(style.decode_secret(secret)),), style=style)
        self._where = urlsplit(url).netloc.rpartition("@")[2]
        self.answers = asyncio.Queue[Forwarded]()
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(at_once)
        self._sender = HttpSender(OWN_MACHINE, idle_max=at_once)
        self._sending: set[asyncio.Task[None]] = set()
        self._resending: asyncio.Task[None] | None = None
        self._attempts: dict[str, int] = {}
        self.last: Arrived | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """What is under way is given up."""
        under_way = [*self._sending, *([self._resending] if self._resending is not None else [])]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._sender.close()

    async def forward(self, event: Arrived) -> None:
        """Begin to send the event, as soon as there is room."""
        await self._slots.acquire()
        self.last = event
        task = asyncio.create_task(self._send(event))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def resend(self) -> None:
        """Send the last event again, as soon as there is room; once, however often it is asked for until then."""
        if self.last is not None and (self._resending is None or self._resending.done()):
            self._resending = asyncio.create_task(self.forward(self.last))

    async def _send(self, event: Arrived) -> None:
        try:
            number = self._attempts.pop(event.id, 0) + 1
            self._attempts[event.id] = number
            if len(self._attempts) > COUNTED_MAX:
                del self._attempts[next(iter(self._attempts))]
            now = datetime.now(UTC)
            headers = {
                "User-Agent": USER_AGENT,
                **(self._endpoint.signed(event.id, event.body, now) or {}),
                **described(event.id, event.type, number),
            }
            answer = await self._sender.send(Request(self._endpoint.url, headers, event.body, self._timeout_seconds))
        finally:
            self._slots.release()
        self.answers.put_nowait(Forwarded(event, number, now, answer, classify(answer, datetime.now(UTC)), self._where))
