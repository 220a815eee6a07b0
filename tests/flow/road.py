"""The whole road as a state machine: publishers, a broker, two workers that die at will, a clock, one database.

What must hold is checked after every step (the invariants of docs/architecture.md); at the end everything that was
published must have ended, one way or another.
"""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.core.deliveries.delivery import FINAL_STATES, DeliveryKey, Lease, State
from service.core.deliveries.outcome import OutcomeKind
from service.core.deliveries.request import Fault, Reply
from service.core.deliveries.settlement import Settled
from service.core.endpoints.retry_schedule import RetrySchedule
from service.core.reason import Reason
from service.flow.deliver import Deliver
from service.flow.directory.directory import Directory
from service.flow.intake.costly import Costly
from service.flow.intake.intake import Intake
from service.flow.intake.unread import Carried, Unread
from service.flow.settle import Settle
from service.flow.surroundings import Surroundings
from service.flow.suspects import Suspects
from service.flow.upkeep.upkeep import Upkeep
from service.ports.source import IncomingMessage
from tests.fakes.database import DeliveryRow, MemoryDatabase
from tests.fakes.delivery_store import AFTER_COMMIT, BEFORE_COMMIT, MemoryDeliveryStore, alike
from tests.fakes.events import CountedUids, body_of
from tests.fakes.observer import RecordingObserver
from tests.fakes.secret_box import PlainSecretBox
from tests.fakes.sender import ScriptedSender
from tests.fakes.source import MemoryEventSource
from tests.fakes.subscription_store import MemoryAdministration, MemorySubscriptionStore
from tests.flow.worker import LEASE_SECONDS, MARGIN_SECONDS, TIMEOUT_SECONDS

Result = TypeVar("Result")
KINDS = ("message.sent", "message.replied", "link.clicked")
SUBSCRIBERS = {"message.sent": 2, "message.replied": 1, "link.clicked": 0}
REPLIES: Sequence[Reply | Fault] = (
    Reply(200, 1),
    Reply(200, 2),
    Reply(500, 1),
    Reply(413, 1),
    Reply(429, 1, b"", ("90",)),
    Fault(Reason.TIMEOUT, 15_000),
    Fault(Reason.INTERNAL, 0),
)


class CrashError(BaseException):
    """The worker dies here."""


def run(step: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that has nothing to wait for: the fakes answer at once."""
    try:
        step.send(None)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    step.close()
    raise AssertionError("the step waits for something")


class Queue(MemoryEventSource):
    """Ends when it is empty, so that the intake returns."""

    async def next_batch(self, limit: int) -> Sequence[IncomingMessage]:
        return await super().next_batch(limit) if self.ready else ()


class Outbox(Settle):
    """Settlements wait here until the machine commits them."""

    def __init__(self) -> None:
        self.waiting: list[Settled] = []
        self._watched = {}

    async def put(self, settled: Settled) -> None:
        self.waiting.append(settled)

    def _queue(self, settled: Settled) -> None:
        self.waiting.append(settled)


@dataclass
class Hand:
    """What one worker has in memory, and loses when it dies."""

    store: MemoryDeliveryStore
    leases: list[Lease] = field(default_factory=list)
    outbox: Outbox = field(default_factory=Outbox)
    sent: dict[int, Lease] = field(default_factory=dict)


workers = st.integers(0, 1)
numbers = st.integers(0, 3)


class Road(RuleBasedStateMachine):
    """See the module."""

    store_class: ClassVar[type[MemoryDeliveryStore]] = MemoryDeliveryStore
    intake_class: ClassVar[type[Intake]] = Intake

    def __init__(self) -> None:
        super().__init__()
        self.database = MemoryDatabase()
        self.clock = self.database.clock
        self.source = Queue()
        self.sender = ScriptedSender()
        self.observer = RecordingObserver()
        self.directory = Directory(MemorySubscriptionStore(self.database), PlainSecretBox())
        self.around = Surroundings(self.clock, self.observer, _no_jitter, _at_once)
        self.hands = [Hand(self.store_class(self.database, worker_name=name)) for name in ("one", "two")]
        self.published: set[str] = set()
        self.ended: dict[DeliveryKey, State] = {}
        self.claim_numbers: dict[DeliveryKey, int] = {}
        self.uids = CountedUids()
        administration = MemoryAdministration(self.database, PlainSecretBox())
        run(administration.create_organization("org_1"))
        run(administration.add_endpoint("org_1", "https://a.example/", ["message.sent", "message.replied"]))
        run(administration.add_endpoint("org_1", "https://b.example/", ["message.sent"]))

    # ------------------------------------------------------------------ what may happen

    @initialize(attempts_max=st.sampled_from([1, 2, 12]))
    def configure(self, attempts_max: int) -> None:
        """With few attempts, the walk reaches the end of some."""
        self.schedule = RetrySchedule(attempts_max=attempts_max)
        self.publish(0, "message.sent")
        self.consume(0, None)

    @rule(number=numbers, kind=st.sampled_from(KINDS))
    def publish(self, number: int, kind: str) -> None:
        """An event, or a copy of one: the id follows from the number and the kind."""
        event_id = f"evt_{number}_{kind.replace('.', '-')}"
        self.published.add(event_id)
        self.source.publish(body_of(id=event_id, type=kind))

    @precondition(lambda self: self.source.ready)
    @rule(worker=workers, dies=st.sampled_from([None, None, None, BEFORE_COMMIT, AFTER_COMMIT]))
    def consume(self, worker: int, dies: str | None) -> None:
        hand = self.hands[worker]
        if dies is not None:
            hand.store.fail("record", CrashError(), when=dies)
        intake = self.intake_class(
            hand.store,
            self.directory,
            None,
            self.uids,
            self.around,
            batch_max=3,
            lease_seconds=LEASE_SECONDS,
        )
        try:
            unread = Unread(self.directory, batch_max=1_000)  # nobody makes room in it meanwhile
            costly = Costly(intake.turns)
            run(intake._run_ready(self.source, unread, costly))
            run(intake._run_unread(self.source, unread, costly))
        except CrashError:
            self.crash(worker)

    @precondition(lambda self: any(self.database.rows_in(State.PENDING)))
    @rule(worker=workers, limit=st.integers(1, 4), reply=st.none() | st.sampled_from(REPLIES))
    def claim(self, worker: int, limit: int, reply: Reply | Fault | None) -> None:
        """Take leases, and perhaps begin with the first at once."""
        hand = self.hands[worker]
        expires_at = self.clock.monotonic() + LEASE_SECONDS
        for claim in run(hand.store.claim_due(alike(limit, 2))):
            (subscription,) = run(self.directory.serving([claim]))
            assert subscription is not None
            endpoint = subscription.endpoint
            version = claim.directory_version
            hand.leases.append(
                Lease(claim.delivery, endpoint, claim.claim_number, expires_at, directory_version=version)
            )
        if hand.leases and reply is not None:
            self.attempt(worker, reply)

    @precondition(lambda self: any(hand.leases for hand in self.hands))
    @rule(worker=workers, reply=st.sampled_from(REPLIES))
    def attempt(self, worker: int, reply: Reply | Fault) -> None:
        """POST; the reply stays in the worker's memory until it commits."""
        hand = self.hands[worker] if self.hands[worker].leases else self.hands[1 - worker]
        lease = hand.leases.pop(0)
        self.sender.otherwise = reply
        deliver = Deliver(self.sender, self.schedule, self.around, TIMEOUT_SECONDS, MARGIN_SECONDS)
        suspects = Suspects(hand.store, deliver, hand.outbox, self.around)
        settled = run(suspects(lease) if lease.delivery.is_suspect else deliver(lease))
        if settled is None:
            hand.outbox.give_back([lease])
        else:
            hand.outbox.waiting.append(settled)
            hand.sent[id(settled)] = lease

    @precondition(lambda self: any(hand.outbox.waiting for hand in self.hands))
    @rule(worker=workers, is_answer_lost=st.booleans())
    def commit(self, worker: int, is_answer_lost: bool) -> None:  # noqa: FBT001
        hand = self.hands[worker] if self.hands[worker].outbox.waiting else self.hands[1 - worker]
        batch, hand.outbox.waiting = hand.outbox.waiting, []
        hand.sent.clear()
        run(hand.store.settle(batch))
        if is_answer_lost:
            run(hand.store.settle(batch))

    @precondition(lambda self: any(hand.leases for hand in self.hands))
    @rule(worker=workers)
    def release(self, worker: int) -> None:
        hand = self.hands[worker]
        hand.outbox.give_back(hand.leases)
        hand.leases.clear()

    @precondition(lambda self: any(self.database.rows_in(State.LEASED)))
    @rule(worker=workers, after_seconds=st.sampled_from([0, 61]))
    def rescue(self, worker: int, after_seconds: int) -> None:
        self.clock.advance(after_seconds)
        hand = self.hands[worker]
        upkeep = Upkeep(
            hand.store,
            hand.outbox,
            self.directory,
            self.schedule,
            self.around,
            rescue_seconds=1.0,
        )
        run(upkeep.rescue_once())

    @precondition(lambda self: any(self.database.rows_in(State.PENDING)))
    @rule(
        worker=workers,
        reply=st.sampled_from(REPLIES),
        meanwhile=st.none() | st.sampled_from(REPLIES),
        goes_on=st.booleans(),
    )
    def stall(self, worker: int, reply: Reply | Fault, meanwhile: Reply | Fault | None, goes_on: bool) -> None:  # noqa: FBT001
        """A worker is stopped for a minute with a reply in hand; the other takes over, and perhaps tries again."""
        self.claim(worker, 4, reply)
        self.rescue(1 - worker, 61)
        if self.hands[1 - worker].outbox.waiting:
            self.commit(1 - worker, is_answer_lost=False)
        if meanwhile is not None:
            self.clock.advance(6)
            self.claim(1 - worker, 4, meanwhile)
        if goes_on and self.hands[worker].outbox.waiting:
            self.commit(worker, is_answer_lost=False)

    @rule(worker=workers)
    def crash(self, worker: int) -> None:
        """All that was in memory is gone; the broker notices, the database does not."""
        self.hands[worker] = Hand(self.store_class(self.database, worker_name=f"reborn {worker}"))
        self.source.lose_channel()

    @rule(seconds=st.sampled_from([6, 30, 61, 61, 4000]))
    def tick(self, seconds: int) -> None:
        self.clock.advance(seconds)

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def what_is_acked_is_recorded(self) -> None:
        recorded = {row.event.id for row in self.database.events.values()}
        for message in self.source.acked:
            assert any(event_id.encode() in message.body for event_id in recorded), "acked, and lost"

    @invariant()
    def a_final_state_is_final(self) -> None:
        for key, state in self.ended.items():
            assert self.database.deliveries[key].state is state
        self.ended |= {key: row.state for key, row in self.database.deliveries.items() if row.state in FINAL_STATES}

    @invariant()
    def a_claim_number_only_grows(self) -> None:
        for key, row in self.database.deliveries.items():
            assert row.claims_made >= self.claim_numbers.get(key, 0)
            self.claim_numbers[key] = row.claims_made

    @invariant()
    def each_event_has_one_first_delivery_per_subscription(self) -> None:
        for row in self.database.events.values():
            mine = [key for key in self.database.deliveries if key.event_uid == row.uid]
            assert len(mine) == SUBSCRIBERS[row.event.type]
        assert len(self.database.deliveries) == sum(
            SUBSCRIBERS[row.event.type] for row in self.database.events.values()
        )

    @invariant()
    def nobody_moves_what_another_holds(self) -> None:
        """As long as a lease lasts, its delivery is its holder's: only a late success may end it meanwhile."""
        for hand in self.hands:
            for lease in (*hand.leases, *hand.sent.values()):
                if lease.expires_at_monotonic > self.clock.monotonic():
                    row = self.database.deliveries[lease.delivery.key]
                    assert row.claims_made == lease.claim_number, "another worker has it as well"
                    assert row.state in {State.LEASED, State.DELIVERED}, "moved by someone who does not hold it"

    @invariant()
    def a_success_is_a_fact(self) -> None:
        for row in self.database.deliveries.values():
            if any(attempt.outcome is OutcomeKind.ACCEPTED for attempt in row.attempts):
                assert row.state in FINAL_STATES

    @invariant()
    def attempts_are_numbered_without_a_gap(self) -> None:
        for row in self.database.deliveries.values():
            assert [attempt.number for attempt in row.attempts] == list(range(1, len(row.attempts) + 1))

    def teardown(self) -> None:
        """With receivers and workers well again, everything that was published ends."""
        for worker in (0, 1):
            self.crash(worker)
        for _ in range(60):
            if self.source.ready:
                self.consume(0, None)
            self.rescue(0, 0)
            self.claim(0, 4, None)
            while self.hands[0].leases:
                self.attempt(0, REPLIES[0])
            self.commit(0, is_answer_lost=False)
            self.tick(61)
            if not self.source.ready and all(map(_is_final, self.database.deliveries.values())):
                break
            if not any(row.next_attempt_at <= self.clock.monotonic() for row in self._waiting()):
                self.tick(4000)
        assert {row.event.id for row in self.database.events.values()} == self.published, "an event was lost"
        assert all(map(_is_final, self.database.deliveries.values())), "a delivery is stuck"
        for hand in self.hands:
            hand.leases.clear()

    def _waiting(self) -> list[DeliveryRow]:
        return [row for row in self.database.deliveries.values() if row.state is State.PENDING]


def _is_final(row: DeliveryRow) -> bool:
    return row.state in FINAL_STATES


def _no_jitter() -> float:
    return 0.0


async def _at_once(_: float) -> None:
    return


# --------------------------------------------------------------------------- mutants: the machine must catch each


class WithoutToken(MemoryDeliveryStore):
    """Whoever says so moves a leased delivery."""

    def _may_move(self, row: DeliveryRow, settled: Settled) -> bool:
        return row.state is State.LEASED or super()._may_move(row, settled)


class WithoutClock(MemoryDeliveryStore):
    """Rescues leases that have not expired."""

    def _has_expired(self, row: DeliveryRow) -> bool:
        return row.lease_expires_at is not None


class WithoutFinality(MemoryDeliveryStore):
    """Lets a late success move what has ended."""

    def _may_move(self, row: DeliveryRow, settled: Settled) -> bool:
        return settled.settlement.state is State.DELIVERED or super()._may_move(row, settled)

    def _move(self, row: DeliveryRow, step: Any) -> None:
        row.state = State.DELIVERED if row.state in FINAL_STATES else row.state
        if row.state not in FINAL_STATES:
            super()._move(row, step)


class WithoutFacts(MemoryDeliveryStore):
    """Treats a late success like a late failure."""

    def _may_move(self, row: DeliveryRow, settled: Settled) -> bool:
        return row.state is State.LEASED and row.claims_made == settled.claim_number


class WithoutDeduplication(MemoryDeliveryStore):
    """Forgets which events it knows."""

    def _record_one(self, recording: Any, leased: set[DeliveryKey]) -> Any:
        self.database.events.pop((recording.event.organization_id, recording.event.id), None)
        return super()._record_one(recording, leased)


class AckFirst(Intake):
    """Acks before the commit."""

    async def _take_in_messages(self, source: Any, batch: Sequence[Carried], *others: Any) -> Any:
        await source.ack([message for message, _ in batch])
        return await super()._take_in_messages(source, batch, *others)


MUTANTS: dict[str, dict[str, type]] = {
    "the token guard dropped": {"store_class": WithoutToken},
    "rescue without the time check": {"store_class": WithoutClock},
    "a final state moved": {"store_class": WithoutFinality},
    "a late success ignored": {"store_class": WithoutFacts},
    "no deduplication": {"store_class": WithoutDeduplication},
    "ack before commit": {"intake_class": AckFirst},
}
