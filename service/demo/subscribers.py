"""The demo's subscribers: five receivers that behave differently and remember what they received."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from service.core.events.registry import REGISTRY
from webhook_signature import Headers, VerificationError, Webhook

ACCEPTED: Final = 204
UNVERIFIED: Final = 401
GONE: Final = 410
UNWELL: Final = 500

LEAVES_AFTER: Final = 3
FAILS_FIRST: Final = 2
SLOW_SECONDS: Final = 0.8

EVENT_TYPES: Final = tuple(REGISTRY)

Answer = Callable[["DemoSubscriber", str], Awaitable[int]]
"""Decides the status for a verified request that carries the event with this id."""


@dataclass(slots=True)
class DemoSubscriber:
    """One endpoint of the demo's organization. ``received_at``: first arrivals by event id, in monotonic seconds."""

    name: str
    conduct: str
    event_types: tuple[str, ...]
    answer: Answer
    is_prompt: bool = False
    is_leaver: bool = False
    endpoint_id: str = ""
    webhook: Webhook | None = None
    requests: Counter[str] = field(default_factory=Counter)
    received_at: dict[str, float] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    troubled: set[str] = field(default_factory=set)
    unverified_count: int = 0

    async def receive(self, body: bytes, headers: Headers) -> int:
        """Verify a request, remember it, and return the status to answer with."""
        received_at = time.monotonic()
        if self.webhook is None:
            return UNVERIFIED
        try:
            event_id = self.webhook.verify(body, headers).id
        except VerificationError:
            self.unverified_count += 1
            return UNVERIFIED
        self.received_at.setdefault(event_id, received_at)
        self.requests[event_id] += 1
        status = await self.answer(self, event_id)
        if status == ACCEPTED:
            self.accepted.add(event_id)
        return status

    @property
    def verified_count(self) -> int:
        """How many requests came with a good signature, retries included."""
        return self.requests.total()

    def wanted(self, published: Mapping[str, int]) -> int:
        """How many of the published events, counted by type, this subscriber asked for."""
        return sum(published.get(event_type, 0) for event_type in self.event_types)


async def _accept(_: DemoSubscriber, __: str) -> int:
    return ACCEPTED


async def _fail_first(subscriber: DemoSubscriber, event_id: str) -> int:
    """Refuse every second event twice. Not all: an endpoint where everything fails counts as broken."""
    if subscriber.requests[event_id] == 1 and len(subscriber.requests) % 2:
        subscriber.troubled.add(event_id)
    is_refused = event_id in subscriber.troubled and subscriber.requests[event_id] <= FAILS_FIRST
    return UNWELL if is_refused else ACCEPTED


async def _leave(subscriber: DemoSubscriber, _: str) -> int:
    return GONE if len(subscriber.accepted) >= LEAVES_AFTER else ACCEPTED


async def _take_time(_: DemoSubscriber, __: str) -> int:
    await asyncio.sleep(SLOW_SECONDS)
    return ACCEPTED


def demo_subscribers() -> Sequence[DemoSubscriber]:
    """Return new subscribers."""
    return (
        DemoSubscriber("crm", "takes all types", EVENT_TYPES, _accept, is_prompt=True),
        DemoSubscriber(
            "analytics",
            "takes three types",
            ("message.delivered", "message.failed", "link.clicked"),
            _accept,
            is_prompt=True,
        ),
        DemoSubscriber("flaky", "500 twice, every 2nd", ("message.sent", "message.failed"), _fail_first),
        DemoSubscriber("slow", f"takes {SLOW_SECONDS} s", ("message.delivered",), _take_time),
        DemoSubscriber("leaver", f"410 after {LEAVES_AFTER}", ("message.replied",), _leave, is_leaver=True),
    )
