"""What an operator sees of the service: who works, what waits and why, whose endpoints fail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from service.core.wording import count_of

COUNTED_MAX: Final = 1_000
"""Open deliveries of an organization are counted up to this; one more stands for "more"."""

FAILING_SHOWN_MAX: Final = 20
"""Organizations with failing endpoints are looked up to this many; there may be more."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the service, as far as the database knows it.

    ``role`` and ``connected_since`` are None of one that holds leases without a connection: it has died, or cannot
    reach the database, and its deliveries go on when their leases expire. ``leased_count`` are deliveries in its
    hands; the first of their leases expires at ``first_expires_at``.
    """

    name: str
    role: str | None
    connected_since: datetime | None
    connection_count: int = 0
    leased_count: int = 0
    first_expires_at: datetime | None = None

    @property
    def is_connected(self) -> bool:
        """Whether it has a connection to the database now."""
        return self.role is not None

    @property
    def delivers(self) -> bool:
        """Whether it is there to deliver."""
        return self.role in {"all", "worker"}


@dataclass(frozen=True, slots=True)
class Waiting:
    """Deliveries that are due: those that wait for a worker, and those behind a shut gate. Counts end at 100,001."""

    due_count: int
    oldest_due_age_seconds: float
    gated_count: int
    oldest_gated_age_seconds: float
    fan_out_count: int


@dataclass(frozen=True, slots=True)
class ShutGate:
    """A gate that keeps an endpoint's deliveries back."""

    organization_id: str
    endpoint_id: str
    kind: str
    since: datetime | None
    until: datetime | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class FailingOrganization:
    """An organization with endpoints whose last attempt failed."""

    organization_id: str
    endpoint_count: int
    failing_since: datetime


@dataclass(frozen=True, slots=True)
class OrganizationRow:
    """An organization in the list, with its endpoints counted. Of removed ones nothing is counted.

    ``failing_count``: the last attempt failed. ``gated_count``: behind any gate, ``disabled_count`` by having failed
    for days. ``open_count`` ends at ``COUNTED_MAX`` + 1.
    """

    id: str
    endpoint_count: int
    failing_count: int
    disabled_count: int
    gated_count: int
    open_count: int


TRAFFIC_HOURS: Final = 24
TRAFFIC_SHOWN_MAX: Final = 20
"""Organizations whose traffic is shown: those with the most."""
TRAFFIC_COMPARED_MAX: Final = 2_000
"""Organizations that are compared for that, by id; what a service with more needs is its metrics."""


@dataclass(frozen=True, slots=True)
class OrganizationTraffic:
    """How an organization's deliveries ended, for each of the last hours by when their events came; the present last.

    They are counted a few seconds after they end.
    """

    organization_id: str
    delivered: Sequence[int]
    dead: Sequence[int]
    cancelled: Sequence[int]

    @property
    def ended_count(self) -> int:
        """All of them."""
        return sum(self.delivered) + sum(self.dead) + sum(self.cancelled)

    @property
    def success_rate(self) -> float | None:
        """The part that was delivered of those that were not cancelled; None if there were none."""
        tried = sum(self.delivered) + sum(self.dead)
        return sum(self.delivered) / tried if tried else None

    @property
    def last_hour_count(self) -> int:
        """How many ended of the events of the last whole hour."""
        return self.delivered[-2] + self.dead[-2] + self.cancelled[-2]


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue of the broker. ``ready_count`` is None if there is no such queue."""

    name: str
    ready_count: int | None
    consumer_count: int


@dataclass(frozen=True, slots=True)
class BrokerState:
    """The broker as it is now; ``trouble`` says why it could not be asked."""

    intake: QueueState | None = None
    parked: QueueState | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Oversight:
    """The service at one moment. ``broker`` is None if none is configured."""

    at: datetime
    processes: Sequence[Process]
    waiting: Waiting
    gates: Mapping[str, int]
    oldest_gates: Sequence[ShutGate]
    failing: Sequence[FailingOrganization]
    broker: BrokerState | None = None


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that a person should look at. ``about`` names its kind, ``command`` what shows more of it."""

    about: str
    sentence: str
    command: str = ""


DUE_AGE_SECONDS_MAX: Final = 60.0
"""What is due should be sent at once; if it waits for longer than this, too few workers work."""


def concerns(seen: Oversight) -> Sequence[Concern]:
    """What is wrong, the worst first."""
    found: list[Concern] = []
    broker, waiting = seen.broker, seen.waiting
    if not any(each.delivers and each.is_connected for each in seen.processes):
        found.append(Concern("workers", "No worker is connected: nothing is delivered", "serve"))
    if broker is not None and broker.trouble is not None:
        found.append(Concern("broker", f"The broker cannot be used: {broker.trouble}", "doctor"))
    if broker is not None and broker.intake is not None:
        if broker.intake.ready_count is None:
            found.append(Concern("broker", f"The queue {broker.intake.name} does not exist", "doctor"))
        elif not broker.intake.consumer_count:
            found.append(Concern("broker", f"Nobody reads {broker.intake.name}", "doctor"))
    if waiting.oldest_due_age_seconds > DUE_AGE_SECONDS_MAX:
        sentence = f"Deliveries wait for a worker for up to {waiting.oldest_due_age_seconds:.0f} s"
        found.append(Concern("backlog", sentence, "deliveries list --state pending"))
    lost = [each for each in seen.processes if each.leased_count and not each.is_connected]
    if lost:
        who = count_of(len(lost), "process is", "processes are")
        sentence = f"{who} gone, with deliveries in hand; these go on when their leases expire"
        found.append(Concern("workers", sentence))
    if broker is not None and broker.parked is not None and broker.parked.ready_count:
        found.append(
            Concern(
                "parked", f"{count_of(broker.parked.ready_count, 'message is', 'messages are')} parked", "parked list"
            )
        )
    if seen.gates.get("disabled"):
        endpoints = count_of(seen.gates["disabled"], "endpoint is", "endpoints are")
        sentence = f"{endpoints} disabled after failing for days"
        found.append(Concern("gates", sentence, "organizations list"))
    return found


def verdict(seen: Oversight, *, is_broker_checked: bool = True) -> str:
    """The sentence for a service without concerns, without its full stop: whether endpoints fail, which is theirs."""
    count = len(seen.failing)
    if not count:
        return "Nothing needs attention" if is_broker_checked else "Nothing wrong found; the broker was not checked"
    at_least = "at least " if count >= FAILING_SHOWN_MAX else ""
    failing = f"ndpoints are failing in {at_least}{count_of(count, 'organization')}"
    return f"The service works; e{failing}" if is_broker_checked else f"E{failing}; the broker was not checked"


@dataclass(frozen=True, slots=True)
class OrganizationsWanted:
    """Which organizations to list, by id: those whose id contains ``search`` (in any case), after ``after``."""

    search: str = ""
    after: str = ""
    limit: int = field(default=50)
