"""Slots: the places of requests in flight, and who may have one."""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from service.core.deliveries.delivery import Lease
from service.core.deliveries.fairness.lane import Kind, Lane, Line


@dataclass(slots=True)
class _Flight:
    """A request in flight. ``is_answered``: the slot is still taken, until what it led to may be committed."""

    lane: Lane
    kind: Kind
    host: str
    organization_id: str
    started_at: float
    is_answered: bool = False


class Slots:
    """Requests in flight. Prompt ones and unsure ones have slots of their own.

    A prompt request that turns out to hang is *stalled*: it has left its slot. Prompt and stalled ones together are at
    most twice ``prompt_max``; and of what may be stalled, an organization leaves something to the others.
    """

    def __init__(
        self,
        *,
        prompt_max: int,
        retries_max: int,
        unsure_max: int,
        host_max: int,
        stall_seconds: float,
        on_room: Callable[[Line], bool],
    ) -> None:
        """``on_room`` is called with a parked line that may have its turn; whether it will take a prompt slot."""
        self._prompt_max = prompt_max
        self._retries_max = retries_max
        self._unsure_max = unsure_max
        self._host_max = host_max
        self._stall_seconds = stall_seconds
        self._on_room = on_room
        self._prompt: dict[int, _Flight] = {}  # by id(lease), in order: the oldest is first
        self._stalled: dict[int, _Flight] = {}
        self._unsure: dict[int, _Flight] = {}
        self._retry_count = 0  # among the prompt ones
        self._prompt_at: Counter[str] = Counter()  # by host
        self._stalled_of: Counter[str] = Counter()  # by organization
        self._parked_at: dict[str, deque[Line]] = {}  # by host
        self._parked_of: dict[str, list[Line]] = {}  # by organization

    @property
    def in_flight(self) -> int:
        """How many requests are in flight."""
        return len(self._prompt) + len(self._stalled) + len(self._unsure)

    @property
    def is_prompt_full(self) -> bool:
        """Whether every slot for prompt requests is taken."""
        return len(self._prompt) >= self._prompt_max

    def has_free(self, kind: Kind) -> bool:
        """Whether a slot of this kind is free."""
        if kind is Kind.UNSURE:
            return len(self._unsure) < self._unsure_max
        if self.is_prompt_full or self._free_in_all <= 0:
            return False
        return kind is Kind.FIRST or self._retry_count < self._retries_max

    @property
    def _free_in_all(self) -> int:
        return 2 * self._prompt_max - len(self._prompt) - len(self._stalled)

    def is_barred(self, organization_id: str) -> bool:
        """Whether the organization has its share stalled, three times what is left, so nothing prompt of it is sent.

        Alone it has three quarters of what may stall, so its own prompt endpoints wait for no few that hang.
        """
        return 0 < self._stalled_of[organization_id] >= 3 * (self._prompt_max - len(self._stalled))

    def park(self, line: Line, kind: Kind) -> bool:
        """Park the line if its host or its organization has its share; whether it was."""
        lane = line.lane
        if kind is Kind.UNSURE:
            return False
        if self._prompt_at[lane.host] >= self._host_max:
            self._parked_at.setdefault(lane.host, deque()).append(line)
        elif self.is_barred(lane.organization_id):
            self._parked_of.setdefault(lane.organization_id, []).append(line)
        else:
            return False
        line.is_queued = True
        return True

    def take(self, lease: Lease, lane: Lane, kind: Kind, now: float) -> None:
        """Take a slot of this kind for the lease."""
        flight = _Flight(lane, kind, lane.host, lane.organization_id, now)
        if kind is Kind.UNSURE:
            self._unsure[id(lease)] = flight
        else:
            self._prompt[id(lease)] = flight
            self._prompt_at[lane.host] += 1
            self._retry_count += kind is Kind.RETRY

    def answered(self, lease: Lease) -> None:
        """The request is over, so it does not hang: whatever takes time now is ours."""
        flight = self._prompt.get(id(lease))
        if flight is not None:
            flight.is_answered = True

    def free(self, lease: Lease) -> bool:
        """Free the lease's slot; whether it was a stalled one."""
        flight = self._prompt.pop(id(lease), None)
        if flight is not None:
            self._leave(flight)
            return False
        flight = self._stalled.pop(id(lease), None)
        if flight is None:
            del self._unsure[id(lease)]
            return False
        self._stalled_of[flight.organization_id] -= 1
        if not self._stalled_of[flight.organization_id]:
            del self._stalled_of[flight.organization_id]
        self._call_unbarred()
        return True

    def stall(self, now: float) -> Iterable[Lane]:
        """Move the requests that hang out of their slots; their lanes, once for each."""
        hung: list[int] = []
        for number, flight in self._prompt.items():
            if now - flight.started_at <= self._stall_seconds:
                break
            if not flight.is_answered:
                hung.append(number)
        lanes = []
        for number in hung:
            flight = self._stalled[number] = self._prompt.pop(number)
            self._stalled_of[flight.organization_id] += 1
            self._leave(flight)
            lanes.append(flight.lane)
        return lanes

    def _leave(self, flight: _Flight) -> None:
        self._retry_count -= flight.kind is Kind.RETRY
        self._prompt_at[flight.host] -= 1
        if not self._prompt_at[flight.host]:
            del self._prompt_at[flight.host]
        self._call_host(flight.host)

    def _call_host(self, host: str) -> None:
        """A slot of this host is free: the next line that waits for one may have its turn; all may, after the last."""
        parked = self._parked_at.get(host)
        while parked:
            takes_slot = self._call(parked.popleft())
            if takes_slot and host in self._prompt_at:
                break  # its own end calls the next
        if not parked:
            self._parked_at.pop(host, None)

    def _call_unbarred(self) -> None:
        """A request that hung is over, which may set free other organizations than its own, too."""
        for organization_id in [each for each in self._parked_of if not self.is_barred(each)]:
            for line in self._parked_of.pop(organization_id):
                self._call(line)

    def _call(self, line: Line) -> bool:
        line.is_queued = False
        return self._on_room(line)
