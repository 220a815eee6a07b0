"""Record: judged events and their deliveries, committed together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from service.core.deliveries.delivery import Lease, NewDelivery, fan_out
from service.core.endpoints.directory import OrganizationDirectory
from service.core.endpoints.endpoint import Endpoint
from service.core.endpoints.order import lines_of
from service.core.endpoints.subscription import Subscription
from service.core.events.event import Event, Rejected
from service.core.events.judged import Judged
from service.core.reason import ParkReason
from service.flow.directory.directory import Directory
from service.flow.dispatch import Dispatch
from service.flow.intake.judgement import unknown_organization
from service.flow.surroundings import Surroundings
from service.ports.errors import RefusedError
from service.ports.observer import BatchRecorded, EventTaken, Trouble
from service.ports.store import DeliveryStore, Disposition, Recorded, Recording
from service.ports.surroundings import NewUid

DELIVERIES_MAX = 2_000
"""In one transaction: some 50 ms of the database's time, and a few of the event loop's."""
STALE_MAX = 2
"""How often an event is fanned out in memory; if the directory was stale each time, its fan-out is deferred."""


@dataclass(slots=True)
class _Taken:
    """One event being recorded, and the outcome."""

    event: Event
    uid: UUID
    outcome: Disposition | Rejected | None = field(default=None)


@dataclass(frozen=True, slots=True)
class _FannedOut:
    """An event with who gets it, as of this version of the directory; ``matching`` is None where that is deferred."""

    taken: _Taken
    directory_version: int | None
    matching: tuple[Subscription, ...] | None

    @property
    def count(self) -> int:
        """How many deliveries are recorded with the event."""
        return len(self.matching or ())


class Record:
    """Commits events with the deliveries that follow from them, and queues those that this worker has leased.

    Events from the broker and those from the HTTP API are recorded alike.
    """

    def __init__(
        self,
        store: DeliveryStore,
        directory: Directory,
        dispatch: Dispatch | None,
        new_uid: NewUid,
        around: Surroundings,
        *,
        lease_seconds: float,
        on_deferred: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_deferred`` is called when a fan-out was deferred; any worker's ``FanOut`` does it."""
        self._around = around
        self._store = store
        self._directory = directory
        self._dispatch = dispatch  # None in a process without a worker: its deliveries are recorded as pending
        self._new_uid = new_uid
        self._lease_seconds = lease_seconds
        self._on_deferred = on_deferred

    async def __call__(self, events: Sequence[Judged], source_name: str) -> Sequence[Disposition | Rejected]:
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
        for is_last in (False,) * STALE_MAX + (True,):
            directories = await self._directory.of({each.event.organization_id for each in waiting})
            for each in waiting:
                if each.event.organization_id not in directories:
                    each.outcome = unknown_organization(each.event)
            waiting = [each for each in waiting if each.outcome is None]
            # At last whatever the directory is by now: others do not wait for one that keeps changing.
            fanned_out, take_turns, now = [], self._around.slices(), self._around.clock.now()
            for each in waiting:
                fanned_out.append(await self._fanned_out(each, directories, None if is_last else now))
                await take_turns()
            await self._record_in_parts(fanned_out)
            waiting = [each for each in waiting if each.outcome is None]
            if not waiting:
                return

    async def _fanned_out(
        self,
        taken: _Taken,
        directories: Mapping[str, OrganizationDirectory],
        now: datetime | None,
    ) -> _FannedOut:
        """Fan out to those who are to get it ``now``; None: later."""
        event = taken.event
        directory = directories[event.organization_id]
        version = directory.version  # before anything is awaited: it may change meanwhile
        matching = None if now is None else await self._directory.matching(directory, event.type, event.body, now)
        return _FannedOut(taken, version, matching)

    async def _record_in_parts(self, fanned_out: Sequence[_FannedOut]) -> None:
        """Record in transactions of bounded size, however many deliveries there are."""
        part: list[_FannedOut] = []
        count = 0
        for each in fanned_out:
            if part and count + each.count > DELIVERIES_MAX:
                await self._record_part(part)
                part, count = [], 0
            part.append(each)
            count += each.count
        if part:
            await self._record_part(part)

    async def _record_part(self, part: Sequence[_FannedOut]) -> None:
        try:
            await self._record_once(part)
        except RefusedError as error:
            await self._divide([each.taken for each in part], error)

    async def _divide(self, taken: Sequence[_Taken], error: RefusedError) -> None:
        """Find the event that the database refuses by halving the batch; the others are recorded."""
        if len(taken) == 1:
            self._around.observer.tell(Trouble("record", error, {"event_id": taken[0].event.id}))
            taken[0].outcome = Rejected(ParkReason.UNRECORDABLE, f"the database refused the event: {error}")
            return
        middle = len(taken) // 2
        await self._record(taken[:middle])
        await self._record(taken[middle:])

    async def _record_once(self, part: Sequence[_FannedOut]) -> None:
        """One transaction. An event whose directory was stale has no outcome after it: the caller tries again."""
        started = self._around.clock.monotonic()
        batch = [self._recording(each) for each in part]
        try:
            recorded = await self._store.record(batch)
        except BaseException:
            self._hand_over(batch, None, started)
            raise
        self._directory.forget(recorded.stale)
        delivery_count = self._hand_over(batch, recorded, started)
        for each, disposition in zip(part, recorded.dispositions, strict=True):
            taken = each.taken
            taken.outcome = _conflict(taken.event) if disposition is Disposition.CONFLICT else disposition
        count = sum(disposition is not None for disposition in recorded.dispositions)
        if count:
            self._around.observer.tell(BatchRecorded(count, delivery_count, self._around.clock.monotonic() - started))
        if any(each.is_deferred for each in batch):
            self._on_deferred()

    def _recording(self, fanned_out: _FannedOut) -> Recording:
        event, uid, matching = fanned_out.taken.event, fanned_out.taken.uid, fanned_out.matching
        if matching is None:
            return Recording(uid, event, None, is_deferred=True)
        deliveries = fan_out(uid, event.id, event.type, event.body, self._around.clock.now(), matching)
        lines = lines_of(matching, event.body)
        return Recording(
            uid,
            event,
            fanned_out.directory_version,
            tuple(
                NewDelivery(delivery, subscription.endpoint, self._wants_lease(subscription.endpoint), line)
                for delivery, subscription, line in zip(deliveries, matching, lines, strict=True)
            ),
        )

    def _wants_lease(self, endpoint: Endpoint) -> bool:
        if endpoint.is_paused or endpoint.is_limited or self._dispatch is None:
            return False
        return self._dispatch.reserve(endpoint)

    def _hand_over(self, batch: Sequence[Recording], recorded: Recorded | None, started: float) -> int:
        """Put the new leases into lanes and cancel the other reservations; returns how many deliveries were new."""
        count = 0
        expires_at = started + self._lease_seconds  # from before the COMMIT: too early is safe, too late is not
        for index, recording in enumerate(batch):
            is_new = recorded is not None and recorded.dispositions[index] is Disposition.RECORDED
            count += len(recording.deliveries) if is_new else 0
            for new in recording.deliveries:
                if self._dispatch is None:
                    continue
                if not new.wants_lease:
                    if is_new and new.endpoint.is_limited:  # only a claim may grant its lease
                        self._dispatch.look_at(new.endpoint.id)
                elif is_new and recorded is not None and new.delivery.key in recorded.leased:
                    version = recording.directory_version or 0
                    self._dispatch.put(Lease(new.delivery, new.endpoint, 1, expires_at, None, started, version))
                else:
                    self._dispatch.cancel(new.endpoint.id)
        return count


def _of_copy(copy: _Taken, first: _Taken) -> Disposition | Rejected | None:
    """The outcome of an event whose id came earlier in the batch; None means that it must be recorded by itself."""
    is_same = copy.event.body == first.event.body
    if isinstance(first.outcome, Disposition):
        return Disposition.DUPLICATE if is_same else _conflict(copy.event)
    return first.outcome if is_same else None  # the first was rejected, which says nothing about a different body


def _conflict(event: Event) -> Rejected:
    return Rejected(ParkReason.CONFLICT, f"another event with the id {event.id!r} was recorded first", "id")
