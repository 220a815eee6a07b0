"""What happens in the flow, as values, and the observers that receive them."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.settlement import Settled
from service.core.endpoints.expiry import Expiry
from service.core.endpoints.gates.failing import Recovery, StageReached
from service.core.endpoints.target_policy import Verdict
from service.core.reason import ParkReason
from service.core.replays.job import ReplayState
from service.core.stream.told import GapReason
from service.ports.requests import ExpiringKey
from service.ports.retention import Ageing, Ages, Expired
from service.ports.store import Backlog, Disposition


class EventTaken(Struct, frozen=True, gc=False):
    """An event from ``source`` was committed, or was known already."""

    source: str
    disposition: Disposition


class MessageParked(Struct, frozen=True, gc=False):
    """A message of ``source`` cannot become an event and was parked. ``detail`` may quote it."""

    source: str
    reason: ParkReason
    detail: str
    message_id: str | None


class MessageRedelivered(Struct, frozen=True, gc=False):
    """The broker sent a message again."""

    source: str


class BatchRecorded(Struct, frozen=True, gc=False):
    """An intake batch was committed, in ``seconds``."""

    event_count: int
    delivery_count: int
    seconds: float


class FannedOut(Struct, frozen=True, gc=False):
    """Deliveries of an event whose fan-out was deferred were committed."""

    delivery_count: int


class ReplaysMade(Struct, frozen=True, gc=False):
    """A step of a replay job was committed; ``state`` is the job's after it, ``reason`` why it ended so."""

    job_id: str
    made_count: int
    skipped_count: int
    state: ReplayState
    reason: str | None


class AttemptSettled(Struct, frozen=True, gc=False):
    """An attempt's outcome was committed. ``has_moved`` is False if the delivery had moved on already."""

    settled: Settled
    has_moved: bool


class BatchSettled(Struct, frozen=True, gc=False):
    """A settle batch was committed, in ``seconds``."""

    count: int
    seconds: float


class LeasesRescued(Struct, frozen=True, gc=False):
    """Expired leases were taken over: a worker died, or lost the database for longer than a lease."""

    count: int


class BacklogMeasured(Struct, frozen=True, gc=False):
    """The backlog was measured."""

    backlog: Backlog


class DaysMade(Struct, frozen=True, gc=False):
    """The days ahead were made: there are ``ahead_count`` of them after today."""

    ahead_count: int


class DeliveriesExpired(Struct, frozen=True, gc=False):
    """Deliveries that were still open when their events were about to be deleted ended as dead."""

    expired: Expired


class AgesMeasured(Struct, frozen=True, gc=False):
    """It was measured how near open deliveries are to the end of retention."""

    ages: Ages


class EndpointAges(Struct, frozen=True, gc=False):
    """Deliveries to an endpoint will end as ``past_retention`` unless they go out soon."""

    ageing: Ageing
    retention_days: int


class EndpointJudged(Struct, frozen=True, gc=False):
    """An endpoint that fails came to the next stage: its organization was warned, or the endpoint disabled."""

    reached: StageReached


class EndpointRecovers(Struct, frozen=True, gc=False):
    """An endpoint of which that was told works again, or begins anew."""

    recovery: Recovery


class DeliveriesCounted(Struct, frozen=True, gc=False):
    """This worker counted so many ended deliveries; what ended ``lag_seconds`` ago or later is not counted yet."""

    count: int
    lag_seconds: float


class EndpointExpires(Struct, frozen=True, gc=False):
    """An endpoint's ``valid_until`` has come: it has ended."""

    expiry: Expiry


class KeysMeasured(Struct, frozen=True, gc=False):
    """It was counted how many API keys are about to expire."""

    expiring_count: int


class KeyLeaked(Struct, frozen=True, gc=False):
    """Somebody who has an API key, and need not be its owner, had it revoked."""

    organization_id: str
    key_id: str


class KeyExpires(Struct, frozen=True, gc=False):
    """An API key is about to expire, and no other one has followed it."""

    key: ExpiringKey


class LoadMeasured(Struct, frozen=True, gc=False):
    """How busy this worker is: attempts in flight, leases held, lanes by state."""

    in_flight: int
    held: int
    lane_states: Mapping[str, int]


class AddressBlocked(Struct, frozen=True, gc=False):
    """The egress policy forbade a connection. For the operator only, never for the customer.

    ``address`` is what ``host`` resolved to, with its port. If the URL itself was refused, both are the URL's host, or
    the URL if no host can be read from it. ``verdict`` is None if the URL is malformed.
    """

    host: str
    address: str
    verdict: Verdict | None


class StreamsOpen(Struct, frozen=True, gc=False):
    """A stream was opened or has ended; so many are open now."""

    count: int


class StreamGap(Struct, frozen=True, gc=False):
    """A listener was not told of something, for this reason."""

    reason: GapReason


class Trouble(Struct, frozen=True):  # with gc: an error's traceback can lead back here
    """A step of the service, ``where``, failed and will be tried again; ``context`` has the ids it concerns."""

    where: str
    error: BaseException
    context: Mapping[str, object] = {}


Happening = (
    EventTaken
    | MessageParked
    | MessageRedelivered
    | BatchRecorded
    | FannedOut
    | ReplaysMade
    | AttemptStarted
    | AttemptSettled
    | BatchSettled
    | LeasesRescued
    | BacklogMeasured
    | DaysMade
    | DeliveriesExpired
    | AgesMeasured
    | EndpointAges
    | EndpointJudged
    | EndpointRecovers
    | DeliveriesCounted
    | EndpointExpires
    | KeysMeasured
    | KeyLeaked
    | KeyExpires
    | LoadMeasured
    | AddressBlocked
    | StreamsOpen
    | StreamGap
    | Trouble
)

Hears = Mapping[type[Happening], Callable[[Any], None]]
"""The handler for each kind of happening that a listener handles."""


class Observer(Protocol):
    """Receives every happening, on the event loop: it must not block."""

    def tell(self, happening: Happening, /) -> None:
        """Handle a happening. Ignores kinds that no listener handles."""


class Listener(Protocol):
    """One part of an observer: metrics or logs."""

    @property
    def hears(self) -> Hears:
        """Handlers by kind of happening; other kinds are ignored. Read once, at the start."""
