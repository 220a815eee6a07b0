"""A walk through all that can happen to deliveries in lines, and the promise it is held against at every claim."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from service.core.deliveries.delivery import FINAL_STATES, DeliveryKey
from service.core.deliveries.request import Fault, Reply
from service.core.deliveries.settlement import Release, Settled, completed
from service.core.timestamp import format_timestamp
from service.ports.store import Claimed
from tests.contract.stores.rig import Bench
from tests.fakes.clock import START
from tests.fakes.events import EXAMPLE_DATA
from tests.fakes.settlements import LOST, settled_by

WAIT_SECONDS = 100
LEASE_SECONDS = 60
SLACK_SECONDS = 30  # real seconds that pass in PostgreSQL meanwhile; time moves in larger steps


def about(message_id: str, age: int) -> dict[str, Any]:
    """Fields of an event about this message, ``age`` seconds old."""
    message = EXAMPLE_DATA["message.sent"]["message"] | {"id": message_id}
    return {"data": {"message": message}, "timestamp": format_timestamp(START - timedelta(seconds=age))}


def done(claim: Claimed, reply: Reply | Fault | int = 200) -> Settled:
    """The settlement as a worker writes it."""
    return completed(settled_by(claim, reply), claim.grant, claim.line)


@dataclass(slots=True)
class _Known:
    """A delivery in the model. ``place``: whoever has the least of its line goes first."""

    line: str
    place: tuple[int, int, int]
    failed_at: float | None = None
    has_begun: bool = False
    has_given_way: bool = False


@dataclass(slots=True)
class LineWalk:
    """Three workers, an endpoint that asks for order, and what each worker holds."""

    bench: Bench
    now: float = 0.0
    known: dict[DeliveryKey, _Known] = field(default_factory=dict)
    open: set[DeliveryKey] = field(default_factory=set)
    ended: list[DeliveryKey] = field(default_factory=list)
    held: list[tuple[Claimed, float]] = field(default_factory=list)
    sent: dict[str, list[DeliveryKey]] = field(default_factory=dict)

    async def begin(self) -> None:
        endpoint_id = await self.bench.endpoint("a")
        await self.bench.administration.order_endpoint(endpoint_id, "data.message.id", wait_seconds=WAIT_SECONDS)

    # ------------------------------------------------------------------ what may happen

    async def record(self, events: Sequence[tuple[str, int]]) -> None:
        """Events recorded together, each about a message and so many seconds old."""
        recordings = [await self.bench.recording(**about(line, age)) for line, age in events]
        await self.bench.record(*recordings)
        for (line, age), recording in zip(events, recordings, strict=True):
            (new,) = recording.deliveries
            self._enter(new.delivery.key, line, (0, -age, len(self.known)))

    async def claim(self, workers: int, limit: int) -> None:
        """So many workers claim at once."""
        stores = [self.bench.database.store(f"worker-{number}") for number in range(workers)]
        found = await asyncio.gather(*(self.bench.claim(limit, by=each) for each in stores))
        self._claimed([claim for claims in found for claim in claims])

    async def claim_alone(self, limit: int) -> None:
        """One worker claims."""
        self._claimed(await self.bench.claim(limit))

    async def settle(self, number: int, reply: Reply | Fault | int | None) -> None:
        """One of the leases ends with this reply; None: it is given back."""
        if not self.held:
            return
        claim, _ = self.held.pop(number % len(self.held))
        released = Settled(claim.delivery, claim.claim_number, Release(), None)
        settled = completed(released, claim.grant, claim.line) if reply is None else done(claim, reply)
        (has_moved,) = await self.bench.settle(settled)
        await self._look(claim.delivery.key, has_failed=has_moved and reply is not None)

    async def lose(self) -> None:
        """All leases expire; their workers still hold them, and may come back with an answer."""
        await self.tick(LEASE_SECONDS + SLACK_SECONDS)
        claims = await self.bench.store.rescue(100)
        await self.bench.settle(*(done(claim, LOST) for claim in claims))
        for claim in claims:
            await self._look(claim.delivery.key, has_failed=True)

    async def tick(self, seconds: float) -> None:
        self.now += seconds
        await self.bench.database.pass_time(seconds)

    async def replay(self, number: int) -> None:
        """One of those that have ended is sent again."""
        if self.ended:
            key = self.ended[number % len(self.ended)]
            self._enter(await self.bench.database.replay(key), self.known[key].line, (1, 0, 0))

    async def finish(self) -> None:
        """Receivers and workers are well again: everything ends."""
        await self.lose()
        for _ in range(2 * len(self.open)):
            await self.claim_alone(100)
            while self.held:
                await self.settle(0, 200)
            await self.tick(0 if self.held else 400)
        assert not self.open, f"stuck: {[await self.bench.show(each) for each in self.open]}"

    # ------------------------------------------------------------------ what must hold

    def _enter(self, key: DeliveryKey, line: str, place: tuple[int, int, int]) -> None:
        self.known[key] = _Known(line, place)
        self.open.add(key)

    def _claimed(self, claims: Sequence[Claimed]) -> None:
        lines = [claim.line for claim in claims if claim.line is not None]
        assert len(set(lines)) == len(lines), "two of a line at once"
        for claim in claims:
            self._begun(claim)

    def _begun(self, claim: Claimed) -> None:
        """The promise: nobody of its line that has begun, or is earlier, is open, unless it has given way."""
        key, mine = claim.delivery.key, self.known[claim.delivery.key]
        assert (claim.line is None) == mine.has_given_way
        for other in self.open:
            its = self.known[other]
            if other == key or its.line != mine.line or its.has_given_way or mine.has_given_way:
                continue
            if its.has_begun:
                assert not self._is_leased(other), f"{other} is being sent"
                assert its.failed_at is not None, f"{other} has begun and has not failed"
                assert self.now - its.failed_at > WAIT_SECONDS - SLACK_SECONDS, f"{other} has time left"
                its.has_given_way = True
            elif not mine.has_begun:
                assert its.place >= mine.place, f"{other} was earlier"
        mine.has_begun = True
        self.held.append((claim, self.now + LEASE_SECONDS))
        self.sent.setdefault(mine.line, []).append(key)

    def _is_leased(self, key: DeliveryKey) -> bool:
        return any(claim.delivery.key == key and until > self.now for claim, until in self.held)

    async def _look(self, key: DeliveryKey, *, has_failed: bool) -> None:
        shown = await self.bench.show(key)
        if shown.state in FINAL_STATES:
            if key in self.open:
                self.open.remove(key)
                self.ended.append(key)
        elif has_failed and self.known[key].failed_at is None:
            self.known[key].failed_at = self.now
