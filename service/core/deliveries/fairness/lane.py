"""A lane: one endpoint's place in a worker, and the turns that lanes take."""

import re
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

from service.core.deliveries.delivery import Lease
from service.core.deliveries.fairness.pace import Pace

_HOST: Final = re.compile(r"://(\[[^\]]*\]|[^/:?#]*)")


class LaneState(StrEnum):
    """The state of a lane; a closed set for the metric ``lanes``."""

    MOVING = "moving"
    FULL = "full"
    UNPROVEN = "unproven"  # the endpoint has not answered this worker yet
    SLOW = "slow"  # its last request took too long, or one in flight has already
    GATED = "gated"


class Kind(IntEnum):
    """What a request is expected to be; each kind has its own share of a worker's slots."""

    FIRST = 0  # a first attempt at an endpoint that answers promptly
    RETRY = 1  # a later attempt at such an endpoint
    UNSURE = 2  # any attempt at an endpoint that is slow, or has not answered yet


@dataclass(slots=True, eq=False)
class Line:
    """Leases waiting in a lane, for their first attempt or for a later one. ``is_queued``: the line awaits its turn."""

    lane: "Lane"
    is_of_retries: bool
    leases: deque[Lease] = field(default_factory=deque)
    is_queued: bool = False

    @property
    def kind(self) -> Kind:
        """The kind of its next request."""
        if self.lane.is_unsure:
            return Kind.UNSURE
        return Kind.RETRY if self.is_of_retries else Kind.FIRST


@dataclass(slots=True, eq=False)
class Lane:
    """One endpoint's place in a worker. ``is_unsure`` follows its pace, whenever the books are brought up to date.

    ``stalled`` of the requests in flight hang, and have left their slots.
    """

    endpoint_id: str
    organization_id: str
    host: str
    pace: Pace
    is_unsure: bool
    unsure_since: float = float("-inf")
    in_flight: int = 0
    stalled: int = 0
    reserved: int = 0
    gated_until: float = 0.0
    lines: tuple[Line, Line] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = (Line(self, is_of_retries=False), Line(self, is_of_retries=True))

    @property
    def waiting(self) -> int:
        """How many leases wait."""
        first, again = self.lines
        return len(first.leases) + len(again.leases)

    @property
    def held(self) -> int:
        """How many leases this endpoint holds in the worker: waiting, in flight, or reserved."""
        return self.waiting + self.in_flight + self.reserved

    @property
    def is_queued(self) -> bool:
        """Whether one of its lines awaits its turn."""
        first, again = self.lines
        return first.is_queued or again.is_queued

    @property
    def has_free_slot(self) -> bool:
        """Whether the endpoint's own limit allows another request."""
        return self.in_flight < int(self.pace.limit)


class Turns:
    """Lines that may send: organizations take turns, and within each its lines do."""

    def __init__(self) -> None:
        self._organizations: deque[str] = deque()
        self._lines: dict[str, deque[Line]] = {}

    def __len__(self) -> int:
        return len(self._organizations)

    def add(self, line: Line) -> None:
        """Put a line at the end of its organization's."""
        organization_id = line.lane.organization_id
        lines = self._lines.get(organization_id)
        if lines is None:
            lines = self._lines[organization_id] = deque()
            self._organizations.append(organization_id)
        lines.append(line)

    def next(self) -> Line:
        """Take the line whose turn it is. Raises IndexError if there is none."""
        organization_id = self._organizations.popleft()
        lines = self._lines[organization_id]
        line = lines.popleft()
        if lines:
            self._organizations.append(organization_id)
        else:
            del self._lines[organization_id]
        return line


def host_of(url: str) -> str:
    """The host of an endpoint's URL, without the port: "hooks.example.com"."""
    found = _HOST.search(url)
    return found[1].lower() if found else ""
