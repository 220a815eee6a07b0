"""Intake: broker messages in, recorded events out; the broker is acked only after COMMIT."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from service.core.deliveries.delivery import DeliveryKey, Lease, NewDelivery, fan_out
from service.core.endpoints.directory import OrganizationDirectory
from service.core.endpoints.endpoint import Endpoint
from service.core.endpoints.subscription import Subscription, most_specific
from service.core.events.event import Event, Rejected, parse_event
from service.core.events.judged import Judged
from service.core.reason import ParkReason
from service.flow.directory import Directory
from service.flow.dispatch import Dispatch
from service.flow.judgement import judge, unknown_organization
from service.flow.surroundings import Surroundings
from service.ports.errors import RefusedError
from service.ports.observer import BatchRecorded, EventTaken, MessageParked, MessageRedelivered, Trouble
from service.ports.source import EventSource, IncomingMessage
from service.ports.store import DeliveryStore, Disposition, Recorded, Recording, Stale
from service.ports.surroundings import NewUid


@dataclass(slots=True)
class _Taken:
    """One event being recorded, and the outcome."""

    event: Event
    uid: UUID
    outcome: Disposition | Rejected | None = field(default=None)


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
    ) -> None:
        self._around = around
        self._store = store
        self._directory = directory
        self._dispatch = dispatch  # None in a process without a worker: its deliveries are recorded as pending
        self._new_uid = new_uid
        self._batch_max = batch_max
        self._lease_seconds = lease_seconds

    async def run(self, source: EventSource) -> None:
        """Take in messages until ``source`` stops. No timer: a batch is whatever arrived during the last commit."""
        while True:
            if self._dispatch is not None:
                await self._dispatch.room()  # a full worker stops consuming: the broker is the buffer
            batch = await source.next_batch(self._batch_max)
            if not batch:
                return
            await self._take_in_messages(source, batch)
            # Dying on this line is harmless: the broker sends the batch again, and its events are known by their ids.
            await source.ack(batch)

    async def _take_in_messages(self, source: EventSource, batch: Sequence[IncomingMessage]) -> None:
        now = self._around.clock.now()
        events: list[Event] = []
        carriers: list[IncomingMessage] = []
        rejected: list[tuple[IncomingMessage, Rejected]] = []
        for message in batch:
            if message.is_redelivered:
                self._around.observer.tell(MessageRedelivered(source.name))
            parsed = parse_event(message.body, now, message_id=message.message_id, content_type=message.content_type)
            if isinstance(parsed, Event):
                events.append(parsed)
                carriers.append(message)
            else:
                rejected.append((message, parsed))
        outcomes = await self._around.keep_trying("intake", lambda: self.take_in(events, source.name))
        rejected += [(m, o) for m, o in zip(carriers, outcomes, strict=True) if isinstance(o, Rejected)]
        for message, why in rejected:
            # Parked before the ack. Dying in between parks it twice, which a person can see, but never loses it.
            detail = f"{why.field}: {why.detail}" if why.field else why.detail
            await self._around.keep_trying("park", partial(source.park, message, why.reason, detail))
            self._around.observer.tell(MessageParked(source.name, why.reason, detail, message.message_id))

    async def judge(self, events: Sequence[Event]) -> Sequence[Judged | Rejected]:
        """For each event, in order: Judged if it may be recorded, else why not. Raises ``UnavailableError``."""
        return await judge(events, self._directory)

    async def send_test(self, event: Event, endpoint_id: str) -> DeliveryKey | None:
        """Record an event with a single delivery, to this endpoint; the delivery starts as pending.

        Returns None if the endpoint does not exist. The endpoint's filter and event types do not matter: its most
        specific subscription, else its first, carries the delivery. Raises ``UnavailableError``, ``RefusedError``.
        """
        uid, organization_id = self._new_uid(), event.organization_id
        while True:
            self._directory.forget([organization_id])  # the endpoint may have been created a moment ago
            directory = (await self._directory.of([organization_id])).get(organization_id)
            subscription = _best_of(directory, endpoint_id, event.type) if directory else None
            if directory is None or subscription is None:
                return None
            (delivery,) = fan_out(uid, event.id, event.type, event.body, self._around.clock.now(), (subscription,))
            new = NewDelivery(delivery, subscription.endpoint, wants_lease=False)
            recorded = await self._store.record([Recording(uid, event, directory.version, (new,))])
            if isinstance(recorded, Recorded):
                if recorded.dispositions != (Disposition.RECORDED,):
                    raise ValueError(f"the id of a test event must be unused: {event.id}")
                return delivery.key

    async def take_in(self, events: Sequence[Event], source_name: str) -> Sequence[Disposition | Rejected]:
        """Judge events and record those that pass; the result of each, in order. Raises ``UnavailableError``."""
        judged = await self.judge(events)
        passed = [each for each in judged if isinstance(each, Judged)]
        outcomes = iter(await self.record(passed, source_name))
        return [next(outcomes) if isinstance(each, Judged) else each for each in judged]

    async def record(self, events: Sequence[Judged], source_name: str) -> Sequence[Disposition | Rejected]:
        """Record events together; the result of each, in order. Raises ``UnavailableError``.

        When this returns, every event with a Disposition is committed.
        """
        taken = [_Taken(each.event, self._new_uid()) for each in events]
        waiting = taken
        while waiting:
            firsts: dict[tuple[str, str], _Taken] = {}
            for each in waiting:
                firsts.setdefault((each.event.organization_id, each.event.id), each)
            await self._record(list(firsts.values()))
            for each in waiting:
                if each.outcome is None:  # the same id twice in one batch: the outcome of the first decides
                    each.outcome = _of_copy(each, firsts[each.event.organization_id, each.event.id])
            waiting = [each for each in waiting if each.outcome is None]
        for each in taken:
            if isinstance(each.outcome, Disposition):
                self._around.observer.tell(EventTaken(source_name, each.outcome))
        return [each.outcome for each in taken if each.outcome is not None]

    async def _record(self, taken: Sequence[_Taken]) -> None:
        # In key order, so that two workers recording the same redelivered batch cannot deadlock.
        waiting = sorted(taken, key=lambda each: (each.event.organization_id, each.event.id))
        while waiting:
            directories = await self._directory.of({each.event.organization_id for each in waiting})
            for each in waiting:
                if each.event.organization_id not in directories:
                    each.outcome = unknown_organization(each.event)
            waiting = [each for each in waiting if each.outcome is None]
            try:
                if not waiting or await self._record_once(waiting, directories):
                    return
            except RefusedError as error:
                await self._divide(waiting, error)
                return

    async def _divide(self, taken: Sequence[_Taken], error: RefusedError) -> None:
        """Find the event that the database refuses by halving the batch; the others are recorded."""
        if len(taken) == 1:
            self._around.observer.tell(Trouble("record", error, {"event_id": taken[0].event.id}))
            taken[0].outcome = Rejected(ParkReason.UNRECORDABLE, f"the database refused the event: {error}")
            return
        middle = len(taken) // 2
        await self._record(taken[:middle])
        await self._record(taken[middle:])

    async def _record_once(self, taken: Sequence[_Taken], directories: Mapping[str, OrganizationDirectory]) -> bool:
        """One transaction. Returns False, with nothing recorded, if a directory was stale: the caller tries again."""
        started = self._around.clock.monotonic()
        expires_at = started + self._lease_seconds  # from before the COMMIT: too early is safe, too late is not
        batch = [self._recording(each, directories[each.event.organization_id]) for each in taken]
        try:
            recorded = await self._store.record(batch)
        except BaseException:
            self._hand_over(batch, None, expires_at)
            raise
        if isinstance(recorded, Stale):
            self._hand_over(batch, None, expires_at)
            self._directory.forget(recorded.organization_ids)
            return False
        delivery_count = self._hand_over(batch, recorded, expires_at)
        for each, disposition in zip(taken, recorded.dispositions, strict=True):
            each.outcome = _conflict(each.event) if disposition is Disposition.CONFLICT else disposition
        seconds = self._around.clock.monotonic() - started
        self._around.observer.tell(BatchRecorded(len(batch), delivery_count, seconds))
        return True

    def _recording(self, taken: _Taken, directory: OrganizationDirectory) -> Recording:
        event = taken.event
        matching = directory.matching(event.type, event.body)
        deliveries = fan_out(taken.uid, event.id, event.type, event.body, self._around.clock.now(), matching)
        return Recording(
            taken.uid,
            event,
            directory.version,
            tuple(
                NewDelivery(delivery, subscription.endpoint, self._wants_lease(subscription.endpoint))
                for delivery, subscription in zip(deliveries, matching, strict=True)
            ),
        )

    def _wants_lease(self, endpoint: Endpoint) -> bool:
        return not endpoint.is_paused and self._dispatch is not None and self._dispatch.reserve(endpoint.id)

    def _hand_over(self, batch: Sequence[Recording], recorded: Recorded | None, expires_at: float) -> int:
        """Put the new leases into lanes and cancel the other reservations; returns how many deliveries were new."""
        count = 0
        for index, recording in enumerate(batch):
            is_new = recorded is not None and recorded.dispositions[index] is Disposition.RECORDED
            count += len(recording.deliveries) if is_new else 0
            for new in recording.deliveries:
                if not new.wants_lease or self._dispatch is None:
                    continue
                if is_new and recorded is not None and new.delivery.key in recorded.leased:
                    self._dispatch.put(Lease(new.delivery, new.endpoint, 1, expires_at))
                else:
                    self._dispatch.cancel(new.endpoint.id)
        return count


def _best_of(directory: OrganizationDirectory, endpoint_id: str, event_type: str) -> Subscription | None:
    """The endpoint's most specific subscription for the type, else its first."""
    subscriptions = [each for each in directory.subscriptions.values() if each.endpoint.id == endpoint_id]
    return most_specific(subscriptions, event_type) or min(subscriptions, key=lambda each: each.id, default=None)


def _of_copy(copy: _Taken, first: _Taken) -> Disposition | Rejected | None:
    """The outcome of an event whose id came earlier in the batch; None means that it must be recorded by itself."""
    is_same = copy.event.body == first.event.body
    if isinstance(first.outcome, Disposition):
        return Disposition.DUPLICATE if is_same else _conflict(copy.event)
    return first.outcome if is_same else None  # the first was rejected, which says nothing about a different body


def _conflict(event: Event) -> Rejected:
    return Rejected(ParkReason.CONFLICT, f"another event with the id {event.id!r} was recorded first", "id")
