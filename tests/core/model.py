"""All that can happen to a delivery between two workers, with a store as small as its guards.

The decisions are the core's own: ``STEPS``, ``conclude``, ``conclude_loss``, ``postpone``, ``is_suspect`` and
``has_last_chance``. The guards are those of SETTLE, CLAIM, RESCUE and BEGIN_POSTS, said again in Python. Claim numbers
only grow, so all that matters of a held one is whether it is the latest. Time is left out: a lease may expire whenever it
likes, and whatever is pending is due.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from msgspec.structs import replace

from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.delivery import (
    CRASHES_MAX,
    FINAL_STATES,
    OPEN_STATES,
    STEPS,
    Delivery,
    DeliveryKey,
    State,
    Step,
)
from service.core.deliveries.request import Reply
from service.core.deliveries.settlement import Release, Settled, conclude, conclude_loss, postpone
from service.core.endpoints.retry_schedule import RetrySchedule
from service.core.reason import Reason
from tests.fakes.clock import START
from tests.fakes.events import new_uid

WORKERS = (0, 1)
STATUSES = (200, 500, 410)
DELIVERY = Delivery(DeliveryKey(new_uid(), 1), "org_1", "evt_1", "message.sent", b"{}", "ep_1", START)


class Phase(StrEnum):
    """How far a worker is with a lease."""

    HELD = "held"
    BEGUN = "begun"  # written down; the POST not made yet
    SENT = "sent"  # the receiver has it
    RESCUED = "rescued"  # another's lease, taken over to be settled as lost


class Held(NamedTuple):
    """A lease in a worker's memory, with the delivery's counters as they were when it was claimed.

    ``is_latest``: no later claim was made. ``is_valid``: it has not expired, which the store must not rely on.
    """

    phase: Phase
    lost_in_a_row: int
    attempts_made: int
    has_begun: bool = False
    is_latest: bool = True
    is_valid: bool = True


class Row(NamedTuple):
    """The row in the database; and what really happened, which the database does not know, in the last two."""

    state: State = State.PENDING
    lost_in_a_row: int = 0
    attempts_made: int = 0
    has_begun: bool = False
    is_expired: bool = False
    really_began: bool = False  # the POST of the latest claim, or at least that it was written down
    interrupted_in_a_row: int = 0  # POSTs of a suspect, written down and then lost, since a reply last came

    @property
    def is_suspect(self) -> bool:
        return self.lost_in_a_row > 0


class Life(NamedTuple):
    """A delivery, and what each worker holds of it."""

    row: Row = Row()
    held: tuple[Held | None, ...] = (None, None)


class Move(NamedTuple):
    """What happened, and what came of it. ``place``: the worker whose one place for last chances it takes."""

    name: str
    after: Life
    place: int | None = None


class Broken(AssertionError):  # noqa: N818 - what is broken is a promise
    """A promise was broken."""


def hold(life: Life, worker: int, held: Held | None) -> Life:
    return life._replace(held=tuple(held if each == worker else life.held[each] for each in WORKERS))


def has_last_chance_under_way(life: Life, worker: int) -> bool:
    held = life.held[worker]
    return held is not None and held.phase in {Phase.BEGUN, Phase.SENT} and _delivery(held).has_last_chance


def _delivery(held: Held) -> Delivery:
    return replace(DELIVERY, lost_in_a_row=held.lost_in_a_row, attempts_made=held.attempts_made)


class Model:
    """The moves of one delivery. A test changes a guard in a subclass, and must find a promise broken."""

    def __init__(self, attempts_max: int) -> None:
        self.schedule = RetrySchedule(attempts_max=attempts_max)
        self.counts_attempts = attempts_max < 10

    # ------------------------------------------------------------------ the guards of the store

    def may_move(self, row: Row, held: Held, step: Step) -> bool:
        if step is Step.ACCEPT:
            return row.state in OPEN_STATES
        return row.state is State.LEASED and held.is_latest

    def may_begin(self, row: Row, held: Held) -> bool:
        return row.state is State.LEASED and held.is_latest and not row.is_expired

    def may_rescue(self, row: Row) -> bool:
        return row.state is State.LEASED and row.is_expired

    def has_begun_after_claim(self, row: Row) -> bool:  # noqa: ARG002 - a mutant needs it
        return False  # what is in begun_claim is an earlier claim's number

    def has_begun_after_rescue(self, row: Row) -> bool:
        return row.has_begun

    def conclude_loss(self, started: AttemptStarted, held: Held) -> Settled:
        return conclude_loss(started, self.schedule, 0.0, has_begun=held.has_begun)

    def needs_place(self, held: Held) -> bool:
        return _delivery(held).has_last_chance

    # ------------------------------------------------------------------ what can happen

    def moves(self, life: Life) -> Iterator[Move]:
        """Everything that can happen next, but the death of a worker."""
        row = life.row
        if sum(held is not None and held.is_valid for held in life.held) > 1:
            raise Broken("two workers hold it")
        if row.state is State.LEASED and not row.is_expired:
            yield Move("the lease expires", _expired(life))
        if row.state is State.PENDING:
            yield Move("cancelled", _canonical(life._replace(row=row._replace(state=STEPS[row.state][Step.CANCEL]))))
        for worker in WORKERS:
            held = life.held[worker]
            for move in self._take(life, worker) if held is None else self._go_on(life, worker, held):
                yield move._replace(name=f"worker {worker}: {move.name}")

    def _take(self, life: Life, worker: int) -> Iterator[Move]:
        row = life.row
        if row.state is State.PENDING:
            began = self.has_begun_after_claim(row)
            claimed = row._replace(state=STEPS[row.state][Step.CLAIM], has_begun=began, really_began=False)
            held = Held(Phase.HELD, row.lost_in_a_row, row.attempts_made)
            yield Move("claims it", hold(_overtaken(life, claimed), worker, held))
        if self.may_rescue(row):
            began = self.has_begun_after_rescue(row)
            held = Held(Phase.RESCUED, row.lost_in_a_row, row.attempts_made, has_begun=began)
            taken = row._replace(is_expired=False, has_begun=began)
            yield Move("rescues it", hold(_overtaken(life, taken), worker, held))

    def _go_on(self, life: Life, worker: int, held: Held) -> Iterator[Move]:
        delivery = _delivery(held)
        started = AttemptStarted(delivery, 1, None, START)
        match held.phase:
            case Phase.HELD:
                yield Move("gives it back", self._settle(life, worker, held, Settled(delivery, 1, Release(), None)))
                if delivery.has_last_chance:
                    yield Move("is busy", self._settle(life, worker, held, postpone(delivery, 1, 0.0)))
                if delivery.is_suspect:
                    yield self._begin(life, worker, held)
                else:
                    yield Move("POSTs it", _sent(life, worker, held))
            case Phase.BEGUN:
                yield Move("gives it back", self._settle(life, worker, held, Settled(delivery, 1, Release(), None)))
                yield Move("POSTs it", _sent(life, worker, held))
            case Phase.SENT:
                for status in STATUSES:
                    settled = conclude(started, Reply(status, 1), self.schedule, START, 0.0)
                    yield Move(f"settles a {status}", self._settle(life, worker, held, settled))
            case Phase.RESCUED:
                settled = self.conclude_loss(started, held)
                yield Move("settles the loss", self._settle(life, worker, held, settled))

    def _begin(self, life: Life, worker: int, held: Held) -> Move:
        row = life.row
        if not self.may_begin(row, held):
            return Move("cannot begin", hold(life, worker, None))
        begun = row._replace(has_begun=True)
        if held.is_latest:
            begun = begun._replace(really_began=True)
        after = hold(life._replace(row=begun), worker, held._replace(phase=Phase.BEGUN))
        return Move("writes that it begins", after, worker if self.needs_place(held) else None)

    def _settle(self, life: Life, worker: int, held: Held, settled: Settled) -> Life:
        """What SETTLE does, and what must hold of it."""
        row, step, attempt = life.row, settled.settlement.step, settled.attempt
        has_moved = self.may_move(row, held, step)
        is_lost = attempt is not None and attempt.reason is Reason.LOST
        counts = has_moved and attempt is not None and attempt.is_counted
        if step is Step.ACCEPT and row.state in OPEN_STATES and not has_moved:
            raise Broken("a 2xx that was settled is no delivery")
        if has_moved and row.state in FINAL_STATES:
            raise Broken("a final state moved")
        if has_moved and step is not Step.ACCEPT and any(each for each in _others(life, worker) if each.is_valid):
            raise Broken("moved by someone who does not hold it")
        if counts and held.phase is not Phase.SENT and not row.really_began:
            raise Broken("an attempt that never began was counted")
        is_interrupted = held.phase is Phase.RESCUED and has_moved and _delivery(held).is_suspect and row.really_began
        if is_interrupted and not counts:
            raise Broken("a suspect's POST was lost with its worker, and that was forgotten")
        interrupted = row.interrupted_in_a_row + is_interrupted
        is_blamed = has_moved and settled.settlement.reason is Reason.CRASHES_WORKER
        if is_blamed and interrupted < CRASHES_MAX:
            raise Broken("blamed for a crash that it had no part in")
        if not has_moved:
            return hold(life, worker, None)
        moved = row._replace(
            state=STEPS[row.state][step],
            attempts_made=row.attempts_made + (counts if self.counts_attempts else 0),
            lost_in_a_row=row.lost_in_a_row if attempt is None else row.lost_in_a_row + 1 if is_lost else 0,
            interrupted_in_a_row=interrupted if attempt is None or is_lost else 0,
        )
        return _canonical(hold(life._replace(row=moved), worker, None))

    def crash(self, life: Life, worker: int) -> Life:
        """The worker dies; the database does not notice."""
        return hold(life, worker, None)


def _others(life: Life, worker: int) -> Iterator[Held]:
    return (held for each, held in enumerate(life.held) if each != worker and held is not None)


def _expired(life: Life) -> Life:
    """Every lease of it has: there is one in the database, and no two workers may think that they hold it."""
    held = tuple(each and each._replace(is_valid=False) for each in life.held)
    return Life(life.row._replace(is_expired=True), held)


def _overtaken(life: Life, row: Row) -> Life:
    """A later claim was made."""
    return Life(row, tuple(each and _forgotten(each) for each in life.held))


def _sent(life: Life, worker: int, held: Held) -> Life:
    """The receiver has it, also if the lease expired between the look at the clock and this."""
    row = life.row._replace(really_began=True) if held.is_latest else life.row
    return hold(life._replace(row=row), worker, held._replace(phase=Phase.SENT))


def _canonical(life: Life) -> Life:
    """Forget what can make no difference any more, so that there are fewer states to visit."""
    row = life.row
    row = (
        Row(row.state)
        if row.state in FINAL_STATES
        else row._replace(has_begun=False, really_began=False, is_expired=False)
    )
    return Life(row, tuple(each and _forgotten(each)._replace(is_valid=False) for each in life.held))


def _forgotten(held: Held) -> Held:
    """Of a lease that was overtaken, all that matters is how far its holder is, and whether it must begin with care."""
    is_suspect = held.phase is Phase.RESCUED or (held.phase is Phase.HELD and held.lost_in_a_row > 0)
    return held._replace(lost_in_a_row=int(is_suspect), attempts_made=0, has_begun=False, is_latest=False)
