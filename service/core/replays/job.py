"""A replay job: which deliveries are to be made again, how far that has come, and what people can tell it to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from service.core.deliveries.delivery import DeliveryKey, State

RATE_DEFAULT: Final = 100
RATE_MAX: Final = 1000
"""Deliveries per second that a job makes at most."""
IDS_MAX: Final = 1000
"""Deliveries that a job can name one by one; a request with more does not fit into a body."""
LIVE_MAX: Final = 5
"""Jobs of an organization that have not ended."""


class ReplayState(StrEnum):
    """Where a job stands. Its row lies in PostgreSQL: whichever worker comes next takes its next step."""

    PENDING = "pending"  # no worker has begun with it
    RUNNING = "running"
    PAUSED = "paused"  # on request; it goes on from where it stopped
    DONE = "done"  # every replay is made; the last ones may still be on their way
    CANCELLED = "cancelled"  # on request; what was made by then is delivered
    FAILED = "failed"  # the database refused a step, for the job's reason


class ReplayOrder(StrEnum):
    """What people can tell a job to do."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


_STOP: Final = {ReplayOrder.PAUSE: ReplayState.PAUSED, ReplayOrder.CANCEL: ReplayState.CANCELLED}
ORDERS: Final[Mapping[ReplayState, Mapping[ReplayOrder, ReplayState]]] = {
    ReplayState.PENDING: {**_STOP, ReplayOrder.RESUME: ReplayState.PENDING},
    ReplayState.RUNNING: {**_STOP, ReplayOrder.RESUME: ReplayState.RUNNING},
    ReplayState.PAUSED: {**_STOP, ReplayOrder.RESUME: ReplayState.PENDING},
    ReplayState.DONE: {},
    ReplayState.CANCELLED: {ReplayOrder.CANCEL: ReplayState.CANCELLED},
    ReplayState.FAILED: {},
}
"""The state that an order leads to. An order that was obeyed already changes nothing."""

RECOVERED: Final = (State.DEAD, State.CANCELLED)
"""What recovering an endpoint makes again. Most of what was cancelled went to a subscription that is removed, and is
skipped; the rest was answered with 410 by a receiver that has another URL now."""

ENDED: Final = frozenset({ReplayState.DONE, ReplayState.CANCELLED, ReplayState.FAILED})


class SkipReason(StrEnum):
    """Why a delivery that matches is not made again."""

    SUPERSEDED = "superseded"  # there is a newer delivery of the same event to the same subscription
    SUBSCRIPTION_REMOVED = "subscription_removed"
    EVENT_DROPPED = "event_dropped"  # past retention


@dataclass(frozen=True, slots=True)
class ReplayWish:
    """Which deliveries to make again: those of ``keys``, or of an endpoint, an event type or both.

    Only deliveries that have ended, in one of ``states``. ``since`` (inclusive) and ``until`` (exclusive) bound the
    time when the event was received. ``rate`` is in deliveries per second.
    """

    endpoint_id: str | None = None
    event_type: str | None = None
    keys: tuple[DeliveryKey, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    states: tuple[State, ...] = (State.DEAD,)
    rate: int = RATE_DEFAULT


@dataclass(frozen=True, slots=True)
class ReplayCount:
    """What a job would do, counted beforehand. If not ``is_complete`` there is more than was counted."""

    total_count: int
    replayable_count: int
    skipped: Mapping[SkipReason, int]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """A job as shown to people.

    ``total_count`` is final once ``is_counted``. ``open_count``: replays that were made and have not ended yet, up to
    a bound. ``ids_count``: how many deliveries were named one by one.
    """

    id: str
    organization_id: str
    state: ReplayState
    reason: str | None
    endpoint_id: str | None
    event_type: str | None
    ids_count: int
    since: datetime | None
    until: datetime | None
    states: tuple[State, ...]
    rate: int
    total_count: int
    is_counted: bool
    created_count: int
    skipped: Mapping[SkipReason, int]
    open_count: int
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def skipped_count(self) -> int:
        """How many deliveries were passed over."""
        return sum(self.skipped.values())


@dataclass(frozen=True, slots=True)
class TooManyReplays:
    """The organization has ``LIVE_MAX`` jobs that have not ended."""

    @property
    def sentence(self) -> str:
        """For people."""
        return f"limit of {LIVE_MAX} unfinished replays reached; wait until one has ended, or cancel one"


@dataclass(frozen=True, slots=True)
class OrderRefused:
    """The job cannot obey in its state."""

    state: ReplayState
    order: ReplayOrder

    @property
    def sentence(self) -> str:
        """For people."""
        return f"the replay is {self.state}; it cannot {self.order} any more"


def obeyed(state: ReplayState, order: ReplayOrder) -> ReplayState | OrderRefused:
    """The state after the order."""
    return ORDERS[state].get(order) or OrderRefused(state, order)
