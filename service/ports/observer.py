"""What happens in the flow, as values, and who is told."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.settlement import Settled
from service.core.endpoints.target_policy import Verdict
from service.core.reason import ParkReason
from service.ports.store import Backlog, Disposition


class EventTaken(Struct, frozen=True, gc=False):
    """An event came in through ``source`` and is committed, or was known."""

    source: str
    disposition: Disposition


class MessageParked(Struct, frozen=True, gc=False):
    """A message of ``source`` cannot become an event and was set aside. ``detail`` may quote it."""

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


class AttemptSettled(Struct, frozen=True, gc=False):
    """An attempt's outcome is committed; ``has_moved`` is False when the delivery had moved on without us."""

    settled: Settled
    has_moved: bool


class BatchSettled(Struct, frozen=True, gc=False):
    """A settle batch was committed, in ``seconds``."""

    count: int
    seconds: float


class LeasesRescued(Struct, frozen=True, gc=False):
    """Expired leases were taken over: a worker vanished, or lost the database for longer than a lease."""

    count: int


class BacklogMeasured(Struct, frozen=True, gc=False):
    """What waits was counted."""

    backlog: Backlog


class LoadMeasured(Struct, frozen=True, gc=False):
    """How busy this worker is: attempts in flight, leases held, lanes by state."""

    in_flight: int
    held: int
    lane_states: Mapping[str, int]


class AddressBlocked(Struct, frozen=True, gc=False):
    """The egress policy forbade a connection; for the operator alone, never for the customer.

    ``address`` is what ``host`` resolved to, with its port. Where the URL itself was refused, both are its host, or the
    URL where no host can be read from it. ``verdict`` is None where the URL is malformed.
    """

    host: str
    address: str
    verdict: Verdict | None


class Trouble(Struct, frozen=True):  # with gc: an error's traceback can lead back here
    """Something of ours failed at ``where`` and will be tried again; ``context`` has the ids of what it concerns."""

    where: str
    error: BaseException
    context: Mapping[str, object] = {}


Happening = (
    EventTaken
    | MessageParked
    | MessageRedelivered
    | BatchRecorded
    | AttemptStarted
    | AttemptSettled
    | BatchSettled
    | LeasesRescued
    | BacklogMeasured
    | LoadMeasured
    | AddressBlocked
    | Trouble
)

Hears = Mapping[type[Happening], Callable[[Any], None]]
"""What to do at each kind of happening that a listener cares about."""


class Observer(Protocol):
    """Is told what happened, on the event loop: it must not wait."""

    def tell(self, happening: Happening, /) -> None:
        """Take note. Never raises for what a listener does not know."""


class Listener(Protocol):
    """One of those behind an observer: metrics, logs."""

    @property
    def hears(self) -> Hears:
        """The happenings it cares about; of all others it knows nothing. Asked once, at the start."""
