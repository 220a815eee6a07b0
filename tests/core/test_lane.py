"""Fairness inside a worker, and a walk that keeps the books."""

from collections import Counter
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.core.deliveries.delivery import Delivery, DeliveryKey, Lease
from service.core.deliveries.lane import LaneLimits, Lanes, LaneState
from service.core.endpoints.endpoint import Endpoint
from tests.fakes.clock import START
from tests.fakes.events import new_uid

LIMITS = LaneLimits(held_max=12, lane_held_max=5, lane_in_flight_max=2, in_flight_max=4, stall_seconds=1.0)
NAMES = ("a", "b", "c", "d")


def _lease(name: str) -> Lease:
    delivery = Delivery(DeliveryKey(new_uid(), 1), "org_1", "evt_1", "message.sent", b"", name, START)
    return Lease(delivery, Endpoint(name, "org_1", f"https://{name}.example/", ()), 1, 0.0)


def _filled(limits: LaneLimits, **counts: int) -> Lanes:
    lanes = Lanes(limits)
    for name, count in counts.items():
        for _ in range(count):
            assert lanes.reserve(name, 0.0)
            lanes.put(_lease(name))
    return lanes


def test_lanes_take_turns() -> None:
    lanes = _filled(LaneLimits(), a=6, b=2, c=1)
    taken = []
    while (lease := lanes.take(0.0)) is not None:
        taken.append(lease.endpoint.id)
    assert taken == ["a", "b", "c", "a", "b", "a", "a", "a", "a"]


def test_a_hung_lane_takes_no_turn_from_another() -> None:
    lanes = _filled(replace(LIMITS, held_max=100, lane_held_max=50), a=20, b=20)
    served: Counter[str] = Counter()
    for _ in range(18):
        lease = lanes.take(0.0)
        while lease is not None:
            served[lease.endpoint.id] += 1
            if lease.endpoint.id == "b":  # a never answers
                lanes.done(lease)
            lease = lanes.take(0.0)
    assert served == {"a": 2, "b": 20}


def test_a_stalled_lane_gives_back_what_waits_and_keeps_what_flies() -> None:
    lanes = _filled(LIMITS, a=5, b=3)
    flying = [lanes.take(0.0) for _ in range(4)]
    assert lanes.evict(1.0) == []
    for lease in flying:
        assert lease is not None
        if lease.endpoint.id == "b":
            lanes.done(lease)
    evicted = lanes.evict(1.1)
    assert [lease.endpoint.id for lease in evicted] == ["a"] * 3
    assert lanes.states(1.1) == {"moving": 1, "full": 0, "stalled": 1, "gated": 0}
    assert lanes.room(1.1)["a"] == 0
    assert not lanes.reserve("a", 1.1)
    assert lanes.reserve("b", 1.1)


def test_a_slow_lane_may_fill_its_slots_but_nothing_queues_behind_them() -> None:
    lanes = _filled(LIMITS, a=1)
    lanes.take(0.0)
    assert lanes.reserve("a", 5.0)
    assert not lanes.reserve("a", 5.0)


def test_a_stalled_lane_gives_nothing_back_that_it_would_take_again_at_once() -> None:
    """Else a worker whose slots are all taken would claim and release the same deliveries in circles."""
    lanes = _filled(replace(LIMITS, in_flight_max=1, lane_in_flight_max=3), a=5)
    lanes.take(0.0)
    assert len(lanes.evict(5.0)) == 2
    assert lanes.room(5.0)["a"] == 0
    assert lanes.evict(5.0) == []


def test_a_full_lane_refuses_and_a_full_worker_refuses_all() -> None:
    lanes = _filled(LIMITS, a=5, b=5, c=2)
    assert lanes.is_full
    assert not lanes.reserve("d", 0.0)
    assert lanes.states(0.0)[LaneState.FULL] == 2
    lease = lanes.take(0.0)
    assert lease is not None
    lanes.done(lease)
    assert not lanes.is_full
    assert lanes.reserve("d", 0.0)


def test_a_gated_lane_takes_nothing_until_its_time() -> None:
    lanes = _filled(LIMITS, a=3)
    flying = lanes.take(0.0)
    assert len(lanes.gate("a", 10.0)) == 2, "not one more of them is sent"
    assert lanes.take(0.0) is None
    assert not lanes.gate("a", 5.0)  # the later one holds
    assert not lanes.reserve("a", 9.0)
    assert flying is not None
    lanes.done(flying)
    assert lanes.take(9.0) is None
    assert lanes.states(9.0)[LaneState.GATED] == 0, "with nothing held, the gates table remembers"
    lanes.gate("unknown", 10.0)


def test_draining_takes_everything_out() -> None:
    lanes = _filled(LIMITS, a=3, b=3)
    lanes.take(0.0)
    assert len(lanes.evict(0.0, everything=True)) == 5
    assert (lanes.held, lanes.in_flight) == (1, 1)
    assert lanes.take(0.0) is None


class Walk(RuleBasedStateMachine):
    """Any order of calls; a model counts along."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes(LIMITS)
        self.now = 0.0
        self.reserved: list[str] = []
        self.waiting: dict[str, list[Lease]] = {name: [] for name in NAMES}
        self.flying: list[tuple[Lease, float]] = []
        self.passed_over: Counter[str] = Counter()

    @rule(name=st.sampled_from(NAMES), puts=st.booleans())
    def reserve(self, name: str, puts: bool) -> None:  # noqa: FBT001
        if not self.lanes.reserve(name, self.now):
            return
        if puts:
            lease = _lease(name)
            self.lanes.put(lease)
            self.waiting[name].append(lease)
        else:
            self.reserved.append(name)

    @precondition(lambda self: self.reserved)
    @rule(puts=st.booleans())
    def resolve(self, puts: bool) -> None:  # noqa: FBT001
        name = self.reserved.pop(0)
        if puts:
            lease = _lease(name)
            self.lanes.put(lease)
            self.waiting[name].append(lease)
        else:
            self.lanes.cancel(name)

    @rule()
    def take(self) -> None:
        ready = {name for name in NAMES if self.waiting[name] and self._flying(name) < LIMITS.lane_in_flight_max}
        lease = self.lanes.take(self.now)
        if lease is None:
            assert not ready or len(self.flying) >= LIMITS.in_flight_max, "somebody waits, and there is a slot"
            return
        name = lease.endpoint.id
        assert name in ready
        assert self.waiting[name].pop(0) is lease, "first come, first served"
        self.flying.append((lease, self.now))
        for other in NAMES:
            self.passed_over[other] = self.passed_over[other] + 1 if other in ready and other != name else 0
            assert self.passed_over[other] < 2 * len(NAMES), f"{other} never has its turn"

    @precondition(lambda self: self.flying)
    @rule(index=st.integers(0, 3))
    def done(self, index: int) -> None:
        lease, _ = self.flying.pop(index % len(self.flying))
        self.lanes.done(lease)

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def tick(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=st.sampled_from(NAMES))
    def gate(self, name: str) -> None:
        for lease in self.lanes.gate(name, self.now + 1.0):
            self.waiting[name].remove(lease)

    @rule(everything=st.booleans())
    def evict(self, everything: bool) -> None:  # noqa: FBT001
        evicted = self.lanes.evict(self.now, everything=everything)
        for lease in evicted:
            self.waiting[lease.endpoint.id].remove(lease)
        for name in NAMES:
            has_stalled = any(each.endpoint.id == name and self.now - at > 1.0 for each, at in self.flying)
            if has_stalled and self.waiting[name]:
                held = self._flying(name) + len(self.waiting[name]) + self.reserved.count(name)
                assert held <= LIMITS.lane_in_flight_max, "what waits behind a hung request goes back"
            assert not (everything and self.waiting[name])
        states = self.lanes.states(self.now)
        assert sum(states.values()) <= len(NAMES)

    def _flying(self, name: str) -> int:
        return sum(lease.endpoint.id == name for lease, _ in self.flying)

    @invariant()
    def the_books_agree(self) -> None:
        waiting_count = sum(map(len, self.waiting.values()))
        assert self.lanes.in_flight == len(self.flying)
        assert self.lanes.held == len(self.flying) + waiting_count + len(self.reserved)

    @invariant()
    def no_bound_is_passed(self) -> None:
        assert 0 <= self.lanes.in_flight <= LIMITS.in_flight_max
        assert 0 <= self.lanes.held <= LIMITS.held_max
        for name in NAMES:
            held = self._flying(name) + len(self.waiting[name]) + self.reserved.count(name)
            assert held <= LIMITS.lane_held_max
            assert self._flying(name) <= LIMITS.lane_in_flight_max

    @invariant()
    def an_idle_lane_is_forgotten(self) -> None:
        """Memory is bounded by what is held, not by how many endpoints there ever were."""
        busy = [name for name in NAMES if self._flying(name) or self.waiting[name] or name in self.reserved]
        known = sum(self.lanes.states(self.now).values())
        assert known >= len(busy)
        if not self.lanes.held and self.lanes.take(self.now) is None:
            assert not self.lanes.room(self.now)

    def teardown(self) -> None:
        while self.reserved:
            self.resolve(puts=False)
        self.lanes.evict(self.now, everything=True)
        while self.flying:
            self.lanes.done(self.flying.pop()[0])
        assert self.lanes.take(self.now) is None
        assert (self.lanes.held, self.lanes.in_flight, dict(self.lanes.room(self.now))) == (0, 0, {})


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
