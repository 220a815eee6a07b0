"""Fairness inside a worker: each endpoint has a lane, and nobody's lane can take what others need.

A worker holds leases in memory and sends them in slots. An endpoint that answers promptly may hold many: what it holds
is about to be sent. One that is slow, or has not answered yet, may hold no more than it may have in flight, and all of
these together no more than three quarters of the slots; the others' slots are not touched by them. A request that turns
out to hang moves to the slow ones' account, and its slot is free again. So a full worker means that the worker is the
bottleneck, never a receiver.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.core.deliveries.attempt import Attempt
from service.core.deliveries.delivery import Lease
from service.core.deliveries.fairness.fair_share import Turn, fair_shares
from service.core.deliveries.fairness.lane import Kind, Lane, LaneState, Line, Turns, host_of
from service.core.deliveries.fairness.pace import LIMIT_AT_FIRST, Pace, Paces
from service.core.deliveries.fairness.slots import Slots

PROMPT_ROUNDS_HELD: Final = 16
"""How many rounds of its requests a prompt endpoint may hold in memory: enough for the time between two claims."""
_KINDS: Final = tuple(Kind)
_UNKNOWN: Final = Pace()


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """Bounds of a worker. An attempt is slow if it takes longer than ``stall_seconds``.

    ``in_flight_max`` bounds the requests that are expected to be prompt. The others have three quarters as many slots
    beside them, and prompt ones that turn out to hang may fill up to as many again. After ``breaker_failures`` outages
    in a row (0: never) a worker asks the database before it sends more.
    """

    held_max: int = 2048
    lane_held_max: int = 1024
    lane_in_flight_max: int = 64
    in_flight_max: int = 512
    stall_seconds: float = 1.0
    breaker_failures: int = 0

    @property
    def unsure_max(self) -> int:
        """Slots for endpoints that are slow or have not answered yet; also, how many leases these may hold."""
        return max(1, self.in_flight_max * 3 // 4)

    @property
    def retries_max(self) -> int:
        """Slots for retries among those for prompt endpoints: a quarter is reserved for first attempts."""
        return max(1, self.in_flight_max * 3 // 4)

    @property
    def host_in_flight_max(self) -> int:
        """Slots of each kind for one host, however many endpoints it has; half of them are enough for one endpoint."""
        return max(2 * self.lane_in_flight_max, self.in_flight_max // 4)


class Lanes:
    """All lanes of a worker. ``now`` is always in seconds of the monotonic clock.

    A lease goes through ``reserve`` (before its row is written) -> ``put`` -> ``take`` -> ``learn`` -> ``done``.
    """

    def __init__(self, limits: LaneLimits) -> None:
        self.limits = limits
        self.held = 0
        self._lanes: dict[str, Lane] = {}
        self._paces = Paces(min(LIMIT_AT_FIRST, float(limits.lane_in_flight_max)))
        self._turns = (Turns(), Turns(), Turns())  # by kind
        self._turn = 0
        self._slots = Slots(
            prompt_max=limits.in_flight_max,
            retries_max=limits.retries_max,
            unsure_max=limits.unsure_max,
            host_max=limits.host_in_flight_max,
            stall_seconds=limits.stall_seconds,
            on_room=self._takes_prompt_slot,
        )
        self._unsure_max, self._host_max = limits.unsure_max, limits.host_in_flight_max
        self.unsure_held = 0
        self._unsure_held_by: Counter[tuple[str, ...]] = Counter()  # by host, by organization, and by both

    @property
    def in_flight(self) -> int:
        """How many requests are in flight."""
        return self._slots.in_flight

    @property
    def is_full(self) -> bool:
        """Whether the worker as a whole has no room left, so that it should stop consuming."""
        return self.held >= self.limits.held_max

    @property
    def has_ample_room(self) -> bool:
        """Whether a worker that was full should take more again: waiting for a free quarter keeps batches large."""
        return self.held <= self.limits.held_max * 3 // 4

    # ------------------------------------------------------------------ holding

    def reserve(
        self, endpoint_id: str, now: float, *, organization_id: str = "", url: str = "", is_limited: bool = False
    ) -> bool:
        """Reserve room for one lease. False means: leave the delivery pending in PostgreSQL.

        Without ``organization_id`` and ``url`` those that were heard of last are used.
        """
        if organization_id and endpoint_id not in self._lanes:
            _remember_place(self._paces.of(endpoint_id), organization_id, url)
        if self.is_full or self._room(endpoint_id, now, is_limited=is_limited) <= 0:
            return False
        lane = self._lanes.get(endpoint_id) or self._open(endpoint_id)
        lane.reserved += 1
        self._hold(lane, 1)
        return True

    def share_out(self, turns: Sequence[Turn], limit: int, per_endpoint_limit: int, now: float) -> Mapping[str, int]:
        """Reserve room for a claim of at most ``limit``; how much each endpoint was granted.

        Who was served longest ago comes first. A limited endpoint gets no more than it can be sent at once.
        """
        for turn in turns:
            if turn.organization_id:
                _remember_place(self._paces.of(turn.endpoint_id), turn.organization_id, turn.url)
        with_room = [turn for turn in turns if self._room(turn.endpoint_id, now, is_limited=turn.is_limited) > 0]
        with_room.sort(key=self._served_at)
        granted: dict[str, int] = {}
        shares = fair_shares(with_room, limit=limit, per_endpoint_limit=per_endpoint_limit)
        for turn in with_room:
            count, share = 0, shares.get(turn.endpoint_id, 0)
            while count < share and self.reserve(turn.endpoint_id, now, is_limited=turn.is_limited):
                count += 1
            if count:
                granted[turn.endpoint_id] = count
                self._paces.of(turn.endpoint_id).served_at = now
        return granted

    def _served_at(self, turn: Turn) -> float:
        pace = self._paces.find(turn.endpoint_id)
        return pace.served_at if pace is not None else float("-inf")

    def cancel(self, endpoint_id: str) -> None:
        """Give a reservation back: the delivery was not leased to this worker after all."""
        lane = self._lanes[endpoint_id]
        lane.reserved -= 1
        self._hold(lane, -1)
        self._forget_if_idle(lane)

    def put(self, lease: Lease) -> None:
        """Turn a reservation into a waiting lease."""
        lane = self._lanes[lease.delivery.endpoint_id]
        _remember_place(lane.pace, lease.endpoint.organization_id, lease.endpoint.url)
        if lane.organization_id != lane.pace.organization_id or lane.host != lane.pace.host:
            self._move(lane)
        lane.reserved -= 1
        line = lane.lines[lease.delivery.attempts_made > 0]
        line.leases.append(lease)
        self._queue(line)

    def evict(self, now: float, *, everything: bool = False) -> list[Lease]:
        """Remove what waits in gated lanes, and behind the slots of slow ones (or all), for the caller to release."""
        self._note_stalled(now)
        evicted: list[Lease] = []
        for lane in list(self._lanes.values()):
            for _ in range(lane.waiting if everything else self._excess(lane, now)):
                first, again = lane.lines
                evicted.append((first.leases or again.leases).pop())
                self._hold(lane, -1)
            self._forget_if_idle(lane)
        return evicted

    def is_out(self, endpoint_id: str) -> bool:
        """Whether so many attempts in a row have met an outage that the breaker may well be open."""
        pace, most = self._paces.find(endpoint_id), self.limits.breaker_failures
        return pace is not None and 0 < most <= pace.outages_in_a_row

    def gate(self, endpoint_id: str, until: float) -> list[Lease]:
        """Take nothing for this endpoint before ``until``; returns its waiting leases, for the caller to release."""
        lane = self._lanes.get(endpoint_id)
        if lane is None:
            return []
        lane.gated_until = max(lane.gated_until, until)
        evicted = [lease for line in lane.lines for lease in line.leases]
        for line in lane.lines:
            line.leases.clear()
        self._hold(lane, -len(evicted))
        return evicted

    # ------------------------------------------------------------------ sending

    def take(self, now: float) -> Lease | None:
        """The next lease to send; None if every lane is empty, at its limit, or of a kind whose slots are taken.

        The kinds take turns, then organizations, then their lanes.
        """
        for _ in range(2 * len(_KINDS)):  # twice: a line may turn out to be of another kind, whose turn has passed
            self._turn = (self._turn + 1) % len(_KINDS)
            lease = self._take(_KINDS[self._turn], now)
            if lease is not None:
                return lease
        return None

    def _take(self, kind: Kind, now: float) -> Lease | None:
        turns = self._turns[kind]
        while turns and self._has_slot(kind, now):
            line = turns.next()
            lane = line.lane
            line.is_queued = False
            if not line.leases or not lane.has_free_slot:  # evicted meanwhile; or ``done`` will queue it again
                self._forget_if_idle(lane)
            elif line.kind is not kind:  # the lane was found slow meanwhile, or prompt
                self._queue(line)
            elif not self._slots.park(line, kind):
                return self._start(line, kind, now)
        return None

    def _start(self, line: Line, kind: Kind, now: float) -> Lease:
        lane, lease = line.lane, line.leases.popleft()
        lane.in_flight += 1
        self._slots.take(lease, lane, kind, now)
        self._queue(line)
        return lease

    def _has_slot(self, kind: Kind, now: float) -> bool:
        if kind is not Kind.UNSURE and self._slots.is_prompt_full:
            self._note_stalled(now)
        return self._slots.has_free(kind)

    def learn(self, lease: Lease, attempt: Attempt | None, now: float) -> bool:
        """Take in how the attempt ended (None: it was not made); whether the endpoint just came back.

        Then more of its retries may follow, before they are due.
        """
        self._slots.answered(lease)
        if attempt is None:
            return False
        limits, lane = self.limits, self._lanes[lease.delivery.endpoint_id]
        was_recovering = lane.pace.is_recovering
        lane.pace.learn(
            attempt,
            stall_seconds=limits.stall_seconds,
            limit_max=limits.lane_in_flight_max,
            is_at_limit=not lane.has_free_slot,
        )
        self._reclassify(lane, now)
        return lane.pace.is_recovering and (lease.delivery.attempts_made > 0 or not was_recovering)

    def done(self, lease: Lease) -> None:
        """Free the lease's slot: its attempt is over, however it ended."""
        lane = self._lanes[lease.delivery.endpoint_id]
        lane.in_flight -= 1
        if self._slots.free(lease):
            lane.stalled -= 1
            self.held -= 1
        else:
            self._hold(lane, -1)
        for line in lane.lines:
            self._queue(line)
        self._forget_if_idle(lane)

    # ------------------------------------------------------------------ the books

    def _open(self, endpoint_id: str) -> Lane:
        pace = self._paces.of(endpoint_id)
        lane = self._lanes[endpoint_id] = Lane(endpoint_id, pace.organization_id, pace.host, pace, pace.is_unsure)
        return lane

    def _hold(self, lane: Lane, count: int) -> None:
        self.held += count
        if lane.is_unsure:
            self._hold_unsure(lane, count)

    def _hold_unsure(self, lane: Lane, count: int) -> None:
        self.unsure_held += count
        for group in (_organization(lane), _host(lane), _both(lane)):
            self._unsure_held_by[group] += count
            if not self._unsure_held_by[group]:
                del self._unsure_held_by[group]

    def _reclassify(self, lane: Lane, now: float) -> None:
        """Bring the books up to date with the lane's pace. What has stalled counts for itself."""
        if lane.is_unsure is not lane.pace.is_unsure:
            count = lane.held - lane.stalled
            self._hold_unsure(lane, count if lane.pace.is_unsure else -count)
            lane.is_unsure, lane.unsure_since = lane.pace.is_unsure, now

    def _move(self, lane: Lane) -> None:
        """The endpoint has another URL, or only now it is known whose it is."""
        count = lane.held - lane.stalled if lane.is_unsure else 0
        self._hold_unsure(lane, -count)
        lane.organization_id, lane.host = lane.pace.organization_id, lane.pace.host
        self._hold_unsure(lane, count)

    def _note_stalled(self, now: float) -> None:
        """Find prompt endpoints with a request that hangs: they are slow now, and their slots are free for others."""
        for lane in self._slots.stall(now):
            if lane.is_unsure:
                self._hold_unsure(lane, -1)
            lane.stalled += 1
            lane.pace.is_slow = True
            self._reclassify(lane, now)

    def _takes_prompt_slot(self, line: Line) -> bool:
        self._queue(line)
        self._forget_if_idle(line.lane)
        return line.is_queued and line.kind is not Kind.UNSURE

    def _room(self, endpoint_id: str, now: float, *, is_limited: bool = False) -> int:
        lane = self._lanes.get(endpoint_id)
        if lane is None:
            pace = self._paces.find(endpoint_id) or _UNKNOWN
            place: Lane | Pace = pace
            held = 0
        elif lane.gated_until > now:
            return 0
        else:
            pace, place, held = lane.pace, lane, lane.held
        limit = int(pace.limit)
        if not pace.is_unsure:
            if self._slots.is_barred(place.organization_id):
                return 0
            return (limit if is_limited else min(self.limits.lane_held_max, PROMPT_ROUNDS_HELD * limit)) - held
        # An organization, or a host, may hold as much as is still free: whatever one of them holds, as much again is
        # left for the others, and the more there are, the less each gets (dynamic thresholds: Choudhury, Hahne 1998).
        # The same holds for the organizations at one host.
        held_by = self._unsure_held_by
        free = self._unsure_max - self.unsure_held
        free_at_host = min(free, self._host_max - held_by[_host(place)])
        return min(
            limit - held,
            free - held_by[_organization(place)],
            free - held_by[_host(place)],
            free_at_host - held_by[_both(place)],
        )

    def _excess(self, lane: Lane, now: float) -> int:
        """How many waiting leases the lane must give back; never one that ``_room`` would allow to be claimed again.

        Not before it has been unsure for a while: a receiver that is slow now and then has answered another by then.
        """
        if lane.gated_until > now or (not lane.is_unsure and self._slots.is_barred(lane.organization_id)):
            return lane.waiting
        if not lane.is_unsure or now - lane.unsure_since < self.limits.stall_seconds:
            return 0
        too_many = max(0, lane.held - int(lane.pace.limit), self.unsure_held - self._unsure_max)
        return min(lane.waiting, too_many)

    def _queue(self, line: Line) -> None:
        if not line.is_queued and line.leases and line.lane.has_free_slot:
            line.is_queued = True
            self._turns[line.kind].add(line)

    def _forget_if_idle(self, lane: Lane) -> None:
        # The gates table remembers a gated endpoint, so its idle lane is dropped: memory is bounded by ``held``.
        if lane.held == 0 and not lane.is_queued:
            self._lanes.pop(lane.endpoint_id, None)

    def states(self, now: float) -> Mapping[str, int]:
        """How many lanes are in each state."""
        counts = dict.fromkeys(LaneState, 0)
        for lane in self._lanes.values():
            counts[self._state(lane, now)] += 1
        return {state.value: count for state, count in counts.items()}

    def _state(self, lane: Lane, now: float) -> LaneState:
        if lane.gated_until > now:
            return LaneState.GATED
        if lane.is_unsure:
            return LaneState.UNPROVEN if lane.pace.is_slow is None else LaneState.SLOW
        return LaneState.FULL if lane.held >= self.limits.lane_held_max else LaneState.MOVING


def _organization(place: Lane | Pace) -> tuple[str, str]:
    return "organization", place.organization_id


def _both(place: Lane | Pace) -> tuple[str, str, str]:
    return "both", place.organization_id, place.host


def _host(place: Lane | Pace) -> tuple[str, str]:
    return "host", place.host


def _remember_place(pace: Pace, organization_id: str, url: str) -> None:
    pace.organization_id = organization_id
    if pace.url != url:
        pace.url, pace.host = url, host_of(url)
