"""Fairness inside a worker: each endpoint has a lane, so a hung receiver delays only its own deliveries.

A lane bounds how much of a worker one endpoint may hold: leases waiting in memory, and requests in flight. A lane
whose oldest request hangs is stalled: nothing more queues in it, and its waiting leases go back to PostgreSQL. So
everything in memory is about to be sent, and a full worker means that the worker is the bottleneck, not a receiver.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from service.core.deliveries.delivery import Lease


class LaneState(StrEnum):
    """The state of a lane; a closed set for the metric ``lanes``."""

    MOVING = "moving"
    FULL = "full"
    STALLED = "stalled"
    GATED = "gated"


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """Bounds of a worker. A request in flight for longer than ``stall_seconds`` makes its lane stalled."""

    held_max: int = 2048
    lane_held_max: int = 1024
    lane_in_flight_max: int = 64
    in_flight_max: int = 512
    stall_seconds: float = 1.0


@dataclass(slots=True)
class Lane:
    """One endpoint's place in a worker."""

    in_flight_limit: int
    waiting: deque[Lease] = field(default_factory=deque)
    started_at: dict[int, float] = field(default_factory=dict)  # by id(lease), in order: the oldest is first
    reserved: int = 0
    gated_until: float = 0.0
    is_queued: bool = False

    @property
    def held(self) -> int:
        """How many leases this endpoint holds in the worker: waiting, in flight, or reserved."""
        return len(self.waiting) + len(self.started_at) + self.reserved

    def oldest_seconds(self, now: float) -> float:
        """How long the oldest request has been in flight."""
        return now - next(iter(self.started_at.values()), now)


class Lanes:
    """All lanes of a worker. ``now`` is always in seconds of the monotonic clock.

    A lease goes through ``reserve`` (before its row is written) -> ``put`` -> ``take`` -> ``done``.
    """

    def __init__(self, limits: LaneLimits) -> None:
        self.limits = limits
        self.held = 0
        self.in_flight = 0
        self._lanes: dict[str, Lane] = {}
        self._ready: deque[str] = deque()  # lanes that may send, in turn

    @property
    def is_full(self) -> bool:
        """Whether the worker as a whole has no room left, so that it should stop consuming."""
        return self.held >= self.limits.held_max

    @property
    def has_ample_room(self) -> bool:
        """Whether a worker that was full should take more again: waiting for a free quarter keeps batches large."""
        return self.held <= self.limits.held_max * 3 // 4

    def reserve(self, endpoint_id: str, now: float) -> bool:
        """Reserve room for one lease. False means: leave the delivery pending in PostgreSQL."""
        lane = self._lanes.get(endpoint_id) or self._lanes.setdefault(endpoint_id, Lane(self.limits.lane_in_flight_max))
        if self.is_full or self._room(lane, now) <= 0:
            self._forget_if_idle(endpoint_id, lane)
            return False
        lane.reserved += 1
        self.held += 1
        return True

    def cancel(self, endpoint_id: str) -> None:
        """Give a reservation back: the delivery was not leased to this worker after all."""
        lane = self._lanes[endpoint_id]
        lane.reserved -= 1
        self.held -= 1
        self._forget_if_idle(endpoint_id, lane)

    def put(self, lease: Lease) -> None:
        """Turn a reservation into a waiting lease."""
        endpoint_id = lease.delivery.endpoint_id
        lane = self._lanes[endpoint_id]
        lane.reserved -= 1
        lane.waiting.append(lease)
        self._queue_if_ready(endpoint_id, lane)

    def take(self, now: float) -> Lease | None:
        """The next lease to send, taking lanes in turn; None when every lane is empty or at its limit."""
        if self.in_flight >= self.limits.in_flight_max:
            return None
        while self._ready:
            endpoint_id = self._ready.popleft()
            lane = self._lanes[endpoint_id]
            lane.is_queued = False
            if not lane.waiting:  # evicted meanwhile
                self._forget_if_idle(endpoint_id, lane)
                continue
            lease = lane.waiting.popleft()
            lane.started_at[id(lease)] = now
            self.in_flight += 1
            self._queue_if_ready(endpoint_id, lane)
            return lease
        return None

    def done(self, lease: Lease) -> None:
        """Free the lease's slot: its attempt is over, however it ended."""
        endpoint_id = lease.delivery.endpoint_id
        lane = self._lanes[endpoint_id]
        del lane.started_at[id(lease)]
        self.in_flight -= 1
        self.held -= 1
        self._queue_if_ready(endpoint_id, lane)
        self._forget_if_idle(endpoint_id, lane)

    def gate(self, endpoint_id: str, until: float) -> list[Lease]:
        """Take nothing for this endpoint before ``until``; returns its waiting leases, for the caller to release."""
        lane = self._lanes.get(endpoint_id)
        if lane is None:
            return []
        lane.gated_until = max(lane.gated_until, until)
        evicted = list(lane.waiting)
        lane.waiting.clear()
        self.held -= len(evicted)
        return evicted

    def evict(self, now: float, *, everything: bool = False) -> list[Lease]:
        """Remove the waiting leases of stalled and gated lanes (or of all), for the caller to release."""
        evicted: list[Lease] = []
        for endpoint_id, lane in list(self._lanes.items()):
            for _ in range(len(lane.waiting) if everything else self._excess(lane, now)):
                evicted.append(lane.waiting.pop())
                self.held -= 1
            self._forget_if_idle(endpoint_id, lane)
        return evicted

    def room(self, now: float) -> Mapping[str, int]:
        """How many more leases each lane can take; an endpoint without a lane is bounded only by the limits."""
        return {endpoint_id: self._room(lane, now) for endpoint_id, lane in self._lanes.items()}

    def states(self, now: float) -> Mapping[str, int]:
        """How many lanes are in each state."""
        counts = dict.fromkeys(LaneState, 0)
        for lane in self._lanes.values():
            counts[self._state(lane, now)] += 1
        return {state.value: count for state, count in counts.items()}

    def _state(self, lane: Lane, now: float) -> LaneState:
        if lane.gated_until > now:
            return LaneState.GATED
        if lane.oldest_seconds(now) > self.limits.stall_seconds:
            return LaneState.STALLED
        return LaneState.FULL if lane.held >= self.limits.lane_held_max else LaneState.MOVING

    def _room(self, lane: Lane, now: float) -> int:
        match self._state(lane, now):
            case LaneState.GATED:
                return 0
            case LaneState.STALLED:  # the receiver may just be slow: fill its slots, but queue nothing behind them
                return lane.in_flight_limit - lane.held
            case _:
                return self.limits.lane_held_max - lane.held

    def _excess(self, lane: Lane, now: float) -> int:
        """How many waiting leases the lane must give back; never one that ``_room`` would allow to be claimed again."""
        match self._state(lane, now):
            case LaneState.GATED:
                return len(lane.waiting)
            case LaneState.STALLED:
                return min(len(lane.waiting), max(0, lane.held - lane.in_flight_limit))
            case _:
                return 0

    def _queue_if_ready(self, endpoint_id: str, lane: Lane) -> None:
        if not lane.is_queued and lane.waiting and len(lane.started_at) < lane.in_flight_limit:
            lane.is_queued = True
            self._ready.append(endpoint_id)

    def _forget_if_idle(self, endpoint_id: str, lane: Lane) -> None:
        # The gates table remembers a gated endpoint, so its idle lane is dropped: memory is bounded by ``held``.
        if lane.held == 0 and not lane.is_queued:
            self._lanes.pop(endpoint_id, None)
