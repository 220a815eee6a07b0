"""Intake: broker messages in, recorded events out; the broker is acked only after COMMIT."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from service.core.deliveries.delivery import DeliveryKey, NewDelivery, fan_out
from service.core.endpoints.subscription import most_specific
from service.core.events.event import Event, Rejected, parse_event
from service.core.events.judged import Judged
from service.flow.directory.directory import Directory
from service.flow.dispatch import Dispatch
from service.flow.intake.costly import Costly
from service.flow.intake.judgement import JudgeData, judge, patiently
from service.flow.intake.later_clock import LaterClock
from service.flow.intake.record import Record
from service.flow.intake.turns import Turns
from service.flow.intake.unread import Carried, Unread
from service.flow.surroundings import Surroundings
from service.ports.observer import MessageParked, MessageRedelivered
from service.ports.source import EventSource, IncomingMessage
from service.ports.store import DeliveryStore, Disposition, Recording
from service.ports.surroundings import NewUid


class Intake:
    """Turns messages into recorded events and deliveries. The HTTP API publishes through the same ``record``."""

    def __init__(
        self,
        store: DeliveryStore,
        directory: Directory,
        dispatch: Dispatch | None,
        new_uid: NewUid,
        around: Surroundings,
        *,
        batch_max: int,
        lease_seconds: float,
        on_deferred: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_deferred`` is called when a fan-out was deferred; any worker's ``FanOut`` does it."""
        self._around = around
        self._store = store
        self._directory = directory
        self._dispatch = dispatch  # None in a process without a worker
        self._new_uid = new_uid
        self._batch_max = batch_max
        self.turns = Turns()
        self.record = Record(
            store, directory, dispatch, new_uid, around, lease_seconds=lease_seconds, on_deferred=on_deferred
        )

    async def run(self, source: EventSource) -> None:
        """Take in messages until ``source`` stops. No timer: a batch is whatever arrived during the last commit."""
        unread, costly = Unread(self._directory, batch_max=self._batch_max), Costly(self.turns)
        loops = [
            asyncio.create_task(each)
            for each in (
                self._run_ready(source, unread, costly),
                self._run_unread(source, unread, costly),
                self._run_costly(source, costly),
            )
        ]
        try:
            await asyncio.gather(*loops)
        finally:
            for each in loops:
                each.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _run_ready(self, source: EventSource, unread: Unread, costly: Costly) -> None:
        while True:
            if self._dispatch is not None:
                await self._dispatch.room()  # a full worker stops consuming: the broker is the buffer
            await unread.room()
            batch = await source.next_batch(self._batch_max)
            if not batch:
                unread.close()
                costly.close()
                return
            ready = unread.set_aside(await self._read(source, batch))
            await self._take_in_and_ack(source, ready, costly.judge_at_once, costly)

    async def _run_unread(self, source: EventSource, unread: Unread, costly: Costly) -> None:
        while batch := await unread.next_batch():
            await self._take_in_and_ack(source, batch, costly.judge_at_once, costly)
            unread.done(batch)

    async def _run_costly(self, source: EventSource, costly: Costly) -> None:
        while batch := await costly.next_batch():
            await self._take_in_and_ack(source, batch, costly.judge_in_thread, costly)
            costly.done(batch)

    async def _take_in_and_ack(
        self, source: EventSource, batch: Sequence[Carried], judge_data: JudgeData, costly: Costly
    ) -> None:
        if batch:
            done = await self._take_in_messages(source, batch, judge_data, costly)
            # Dying on this line is harmless: the broker sends the batch again, and its events are known by their ids.
            await source.ack(done)

    async def _take_in_messages(
        self, source: EventSource, batch: Sequence[Carried], judge_data: JudgeData, costly: Costly
    ) -> Sequence[IncomingMessage]:
        """Record what they carry, park what may not be recorded, and return these; set aside what takes long."""
        events = [event for _, event in batch]
        outcomes = await self._around.keep_trying("intake", lambda: self._take_in(events, source.name, judge_data))
        done: list[IncomingMessage] = []
        rejected: list[tuple[IncomingMessage, Rejected]] = []
        for carried, outcome in zip(batch, outcomes, strict=True):
            decided = costly.set_aside(carried) if outcome is None else outcome
            if decided is not None:
                done.append(carried[0])
            if isinstance(decided, Rejected):
                rejected.append((carried[0], decided))
        await self._park(source, rejected)
        return done

    async def _read(self, source: EventSource, batch: Sequence[IncomingMessage]) -> Sequence[Carried]:
        """Read the messages, and park those that carry no event."""
        later = LaterClock(self._around.clock.now(), lambda: self._around.keep_trying("intake", self._store.now))
        carried: list[Carried] = []
        rejected: list[tuple[IncomingMessage, Rejected]] = []
        take_turns = self._around.slices()
        for message in batch:
            await take_turns()
            if message.is_redelivered:
                self._around.observer.tell(MessageRedelivered(source.name))
            parsed = message.fault or await later.read(partial(_parse, message))
            if isinstance(parsed, Event):
                carried.append((message, parsed))
            else:
                rejected.append((message, parsed))
        await self._park(source, rejected)
        return carried

    async def _park(self, source: EventSource, rejected: Sequence[tuple[IncomingMessage, Rejected]]) -> None:
        for message, why in rejected:
            # The source acks it once it is parked, so nobody waits for a parked queue that is missing or full.
            detail = f"{why.field}: {why.detail}" if why.field else why.detail
            await source.park(message, why.reason, detail)
            self._around.observer.tell(MessageParked(source.name, why.reason, detail, message.message_id))

    async def judge(self, events: Sequence[Event]) -> Sequence[Judged | Rejected]:
        """For each event, in order: Judged if it may be recorded, else why not. Raises ``UnavailableError``."""
        judged = await judge(events, self._directory, patiently(self.turns))
        return [each for each in judged if each is not None]  # whoever is patient gets an answer to each

    async def send_test(self, event: Event, endpoint_id: str) -> DeliveryKey | None:
        """Record an event with a single delivery, to this endpoint; the delivery starts as pending.

        Returns None if the endpoint does not exist. The endpoint's filter and event types do not matter: its most
        specific subscription, else its first, carries the delivery. Raises ``UnavailableError``, ``RefusedError``.
        """
        subscriptions = await self._directory.subscriptions_of(event.organization_id, endpoint_id)
        subscription = most_specific(subscriptions, event.type) or min(
            subscriptions, key=lambda each: each.id, default=None
        )
        if subscription is None:
            return None
        uid = self._new_uid()
        (delivery,) = fan_out(uid, event.id, event.type, event.body, self._around.clock.now(), (subscription,))
        new = NewDelivery(delivery, subscription.endpoint, wants_lease=False)
        # If the endpoint changes meanwhile, the delivery is claimed as the endpoint is then, or cancelled.
        recorded = await self._store.record([Recording(uid, event, None, (new,))])
        if recorded.dispositions != (Disposition.RECORDED,):
            raise ValueError(f"the id of a test event must be unused: {event.id}")
        return delivery.key

    async def take_in(self, events: Sequence[Event], source_name: str) -> Sequence[Disposition | Rejected]:
        """Judge events and record those that pass; the result of each, in order. Raises ``UnavailableError``."""
        outcomes = await self._take_in(events, source_name, patiently(self.turns))
        return [each for each in outcomes if each is not None]

    async def _take_in(
        self, events: Sequence[Event], source_name: str, judge_data: JudgeData
    ) -> Sequence[Disposition | Rejected | None]:
        judged = await judge(events, self._directory, judge_data)
        passed = [each for each in judged if isinstance(each, Judged)]
        outcomes = iter(await self.record(passed, source_name))
        return [next(outcomes) if isinstance(each, Judged) else each for each in judged]


def _parse(message: IncomingMessage, now: datetime) -> Event | Rejected:
    return parse_event(message.body, now, message_id=message.message_id, content_type=message.content_type)
