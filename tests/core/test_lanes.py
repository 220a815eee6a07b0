"""Fairness inside a worker, and a walk that keeps the books."""

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace as changed

from service.core.deliveries.attempt import Attempt
from service.core.deliveries.delivery import Delivery, DeliveryKey, Lease
from service.core.deliveries.fairness.fair_share import Turn
from service.core.deliveries.fairness.lane import host_of
from service.core.deliveries.fairness.lanes import LaneLimits, Lanes
from service.core.deliveries.outcome import OutcomeKind
from service.core.endpoints.endpoint import Endpoint
from service.core.reason import Reason
from tests.fakes.clock import START
from tests.fakes.events import new_uid

LIMITS = LaneLimits(held_max=12, lane_held_max=5, lane_in_flight_max=2, in_flight_max=4, stall_seconds=1.0)
WIDE = LaneLimits(held_max=400, lane_held_max=200, lane_in_flight_max=8, in_flight_max=40, stall_seconds=1.0)
NAMES = ("a", "b", "c", "d")
PROMPT = Attempt(1, 1, START, 5, OutcomeKind.ACCEPTED, status=200)
SLOW = Attempt(1, 1, START, 2_000, OutcomeKind.ACCEPTED, status=200)
TIMEOUT = Attempt(1, 1, START, 15_000, OutcomeKind.FAILED, Reason.TIMEOUT)
REFUSED = Attempt(1, 1, START, 1, OutcomeKind.FAILED, Reason.CONNECT_REFUSED)
OVERLOADED = Attempt(1, 1, START, 5, OutcomeKind.FAILED, Reason.HTTP_STATUS, 429)
OURS = Attempt(1, 1, START, 0, OutcomeKind.FAILED, Reason.INTERNAL, is_counted=False)


def _lease(name: str, *, organization_id: str = "org_1", host: str = "", attempts_made: int = 0) -> Lease:
    url = f"https://{host or name}.example/"
    delivery = Delivery(
        DeliveryKey(new_uid(), 1), organization_id, "evt_1", "message.sent", b"", name, START, attempts_made
    )
    return Lease(delivery, Endpoint(name, organization_id, url, ()), 1, 0.0)


def _reserve(lanes: Lanes, lease: Lease, now: float = 0.0) -> bool:
    endpoint = lease.endpoint
    return lanes.reserve(endpoint.id, now, organization_id=endpoint.organization_id, url=endpoint.url)


def _hold(lanes: Lanes, name: str, count: int = 1, now: float = 0.0, **place: Any) -> int:
    """Put as many leases into the lane as it takes, at most ``count``; how many that were."""
    for number in range(count):
        lease = _lease(name, **place)
        if not _reserve(lanes, lease, now):
            return number
        lanes.put(lease)
    return count


def _take_all(lanes: Lanes, now: float = 0.0) -> list[Lease]:
    taken = []
    while (lease := lanes.take(now)) is not None:
        taken.append(lease)
    return taken


def _end(lanes: Lanes, lease: Lease, attempt: Attempt | None = PROMPT, now: float = 0.0) -> bool:
    is_back = lanes.learn(lease, attempt, now)
    lanes.done(lease)
    return is_back


def _proven(limits: LaneLimits, *names: str, attempt: Attempt = PROMPT, **place: Any) -> Lanes:
    """Lanes whose endpoints have answered once, like ``attempt``."""
    lanes = Lanes(limits)
    for name in names:
        _hold(lanes, name, **place)
        for lease in _take_all(lanes):
            _end(lanes, lease, attempt)
    return lanes


def test_lanes_take_turns() -> None:
    lanes = _proven(LaneLimits(), "a", "b", "c")
    assert [_hold(lanes, name, count) for name, count in (("a", 6), ("b", 2), ("c", 1))] == [6, 2, 1]
    assert [lease.endpoint.id for lease in _take_all(lanes)] == ["a", "b", "c", "a", "b", "a", "a"]


def test_organizations_take_turns_however_many_endpoints_they_have() -> None:
    wide = [f"w{number}" for number in range(20)]
    lanes = _proven(replace(WIDE, in_flight_max=4), *wide, "s")
    for name in wide:
        _hold(lanes, name, organization_id="wide")
    _hold(lanes, "s", 3, organization_id="small")
    order = []
    for _ in range(23):
        lease = lanes.take(0.0)
        assert lease is not None
        order.append(lease.endpoint.id)
        _end(lanes, lease)
    assert [index for index, name in enumerate(order) if name == "s"] == [1, 3, 5]


def test_a_hung_endpoint_takes_no_slot_from_another() -> None:
    lanes = _proven(WIDE, "a", "b")
    _hold(lanes, "a", 20)
    hung = len([lease for lease in _take_all(lanes) if lease.endpoint.id == "a"])
    served = 0
    for _ in range(200):
        served += _hold(lanes, "b", 1, 2.0)
        for lease in _take_all(lanes, 2.0):
            assert lease.endpoint.id == "b", "nothing more is sent to one that hangs, before it answers"
            _end(lanes, lease)
    assert (hung, served) == (4, 200)


@pytest.mark.parametrize("hung_count", [50, 600, 10_000])
def test_however_many_endpoints_hang_the_prompt_ones_have_all_their_slots(hung_count: int) -> None:
    prompt = [f"p{number}" for number in range(100)]
    lanes = _proven(LaneLimits(), *prompt)
    hung = []
    for number in range(hung_count):
        _hold(lanes, f"h{number}", 4, organization_id=f"org_{number % 7}")
        hung += _take_all(lanes)
    unsure = lanes.in_flight
    assert unsure <= LaneLimits().unsure_max
    for name in prompt:
        assert _hold(lanes, name, 4) == 4
    assert len(_take_all(lanes)) == 100 * 4, "at their own limits, not at the worker's"


def test_endpoints_that_turn_out_to_hang_leave_their_slots() -> None:
    """A hundred endpoints that were well stop answering at the same moment."""
    names = [f"h{number}" for number in range(100)]
    lanes = _proven(WIDE, *names)
    _hold(lanes, "well", organization_id="another")
    for lease in _take_all(lanes):
        _end(lanes, lease)
    for name in names:
        _hold(lanes, name)
    assert len(_take_all(lanes)) == WIDE.in_flight_max
    _hold(lanes, "well", 3, organization_id="another")
    assert not _take_all(lanes, 1.0), "all slots are taken"
    assert [lease.endpoint.id for lease in _take_all(lanes, 1.1)].count("well") == 3
    assert lanes.in_flight <= 2 * WIDE.in_flight_max


def test_a_newcomer_finds_room_beside_one_organization_that_hangs() -> None:
    lanes = Lanes(WIDE)
    for number in range(1000):
        _hold(lanes, f"h{number}", organization_id="hung")
    _take_all(lanes)
    assert lanes.in_flight == WIDE.unsure_max // 2
    for number in range(1000):
        _hold(lanes, f"i{number}", organization_id="hung too")
    assert _hold(lanes, "new", organization_id="new")
    assert "new" in {lease.endpoint.id for lease in _take_all(lanes)}


def test_a_newcomer_finds_room_beside_a_host_that_hangs() -> None:
    lanes = Lanes(WIDE)
    for number in range(1000):
        _hold(lanes, f"h{number}", organization_id=f"org_{number}", host="hung")
    assert lanes.held == WIDE.unsure_max // 2
    assert _hold(lanes, "new", organization_id="org_1")


def test_a_newcomer_finds_room_at_a_host_beside_an_organization_that_hangs_there() -> None:
    lanes = Lanes(LaneLimits())
    for number in range(1000):
        _hold(lanes, f"h{number}", organization_id="hung", host="shared")
    assert lanes.held == LaneLimits().host_in_flight_max // 2
    assert _hold(lanes, "new", organization_id="new", host="shared")


def test_an_organization_that_breaks_leaves_slots_to_others() -> None:
    """Fifteen hundred endpoints that were well stop answering, wave after wave."""
    names = [f"x{number}" for number in range(1500)]
    lanes = _proven(LaneLimits(), *names)
    for name in ("well", "known"):
        _hold(lanes, name, organization_id="other")
    for lease in _take_all(lanes):
        _end(lanes, lease)
    hung = []
    for second in range(0, 15, 2):
        for name in names:
            _hold(lanes, name, 1, float(second))
        hung += _take_all(lanes, float(second))
        lanes.evict(float(second))
        assert _hold(lanes, "well", 1, float(second), organization_id="other")
        taken = {lease.endpoint.id: lease for lease in _take_all(lanes, second + 1.1)}
        _end(lanes, taken.pop("well"), now=float(second))
        hung += taken.values()
    assert len(hung) < 2 * LaneLimits().in_flight_max
    assert _hold(lanes, "new", 1, 20.0, organization_id="new")
    assert "new" in {lease.endpoint.id for lease in _take_all(lanes, 20.0)}


@pytest.mark.parametrize("is_given_back", [False, True])
def test_an_organization_goes_on_as_soon_as_another_leaves_room(is_given_back: bool) -> None:  # noqa: FBT001
    """What barred it was how little was left for all, so the end of another's request sets it free."""
    lanes = _proven(LIMITS, "hangs", "well")
    _hold(lanes, "other", organization_id="org_2")
    for lease in _take_all(lanes):
        _end(lanes, lease)
    _hold(lanes, "hangs", 2)
    _hold(lanes, "other", 2, organization_id="org_2")
    flying = _take_all(lanes)
    _hold(lanes, "well")
    if is_given_back:
        lanes.take(2.0)  # finds that all four hang
        assert lanes.evict(2.0)
    assert lanes.take(2.0) is None
    _end(lanes, next(lease for lease in flying if lease.endpoint.id == "other"), now=2.0)
    assert is_given_back is (lanes.take(2.0) is None)
    if is_given_back:
        assert _hold(lanes, "well", 1, 2.0)
        assert lanes.take(2.0)


def test_what_our_own_commit_takes_makes_nobody_slow() -> None:
    lanes = _proven(LaneLimits(), "a")
    _hold(lanes, "a", 3)
    flying = _take_all(lanes)
    for lease in flying:
        lanes.learn(lease, PROMPT, 0.1)
    lanes.evict(5.0)
    assert lanes.states(5.0)["slow"] == 0
    for lease in flying:
        lanes.done(lease)


def test_who_is_slow_now_and_then_keeps_what_waits() -> None:
    lanes = _proven(LaneLimits(), "a")
    _hold(lanes, "a", 20)
    slow, *others = _take_all(lanes)
    lanes.evict(1.1)
    assert lanes.states(1.1)["slow"] == 1
    _end(lanes, others[0], now=1.2)
    assert lanes.states(1.2)["slow"] == 0
    assert lanes.evict(1.3) == []
    _end(lanes, slow, SLOW, 2.0)


def test_a_limited_endpoint_holds_no_more_than_it_can_be_sent() -> None:
    lanes = _proven(LaneLimits(), "a", "b")
    assert lanes.share_out([Turn("a", is_limited=True), Turn("b")], 500, 100, 0.0) == {"a": 4, "b": 64}


def test_an_endpoint_whose_place_was_unknown_is_entered_in_the_right_books() -> None:
    lanes = Lanes(LaneLimits())
    assert lanes.share_out([Turn("a")], 9, 9, 0.0) == {"a": 4}
    lanes.put(_lease("a", organization_id="org_7"))
    assert {group[1] for group in lanes._unsure_held_by if group[0] == "organization"} == {"org_7"}
    assert len(_take_all(lanes)) == 1


def test_a_host_has_its_share_however_many_endpoints_it_has() -> None:
    names = [f"z{number}" for number in range(30)]
    lanes = _proven(WIDE, *names, host="zap")
    for name in names:
        _hold(lanes, name, 2, host="zap")
    flying = _take_all(lanes)
    assert len(flying) == WIDE.host_in_flight_max
    served = len(flying)
    while flying:
        _end(lanes, flying.pop())
        more = _take_all(lanes)
        served += len(more)
        flying += more
        assert len(flying) <= WIDE.host_in_flight_max
    assert (served, lanes.held) == (60, 0)


def test_retries_leave_a_quarter_of_the_slots_to_first_attempts() -> None:
    names = [f"e{number}" for number in range(20)]
    lanes = _proven(WIDE, *names)
    for name in names:
        _hold(lanes, name, 3, attempts_made=2)
    retries = _take_all(lanes)
    assert len(retries) == WIDE.retries_max == 30
    for name in names:
        _hold(lanes, name, 1)
    assert len([lease for lease in _take_all(lanes) if not lease.delivery.attempts_made]) == 10


# --------------------------------------------------------------------------- the pace of an endpoint


def test_an_endpoint_starts_with_few_and_earns_more() -> None:
    lanes = Lanes(WIDE)
    assert _hold(lanes, "a", 100) == 4
    seen = []
    for _ in range(8):
        flying = _take_all(lanes)
        seen.append(len(flying))
        for lease in flying:
            _end(lanes, lease)
        _hold(lanes, "a", 100 - lanes.held)
    assert seen[0] == 4
    assert seen == sorted(seen)
    assert seen[-1] == WIDE.lane_in_flight_max


def test_what_is_not_used_does_not_grow() -> None:
    """An endpoint that gets an event now and then may not have 64 requests hanging when it breaks."""
    lanes = _proven(LaneLimits(), "a")
    for _ in range(200):
        _hold(lanes, "a")
        for lease in _take_all(lanes):
            _end(lanes, lease)
    assert _hold(lanes, "a", 100) == 64, "sixteen rounds of its requests"
    assert len(_take_all(lanes)) == 4


@pytest.mark.parametrize(("attempt", "expected"), [(TIMEOUT, 1), (OVERLOADED, 1), (REFUSED, 4), (OURS, 4)])
def test_who_is_overloaded_gets_less(attempt: Attempt, expected: int) -> None:
    lanes = _proven(LaneLimits(), "a")
    for _ in range(3):
        _hold(lanes, "a")
        for lease in _take_all(lanes):
            _end(lanes, lease, attempt)
    _hold(lanes, "a", 20)
    assert len(_take_all(lanes)) in {expected, expected + 1}


def test_who_comes_back_is_not_stormed() -> None:
    lanes = _proven(LaneLimits(), "a")
    for _ in range(10):
        _hold(lanes, "a")
        for lease in _take_all(lanes):
            _end(lanes, lease, TIMEOUT)
    rounds = []
    for _ in range(12):
        _hold(lanes, "a", 100)
        flying = _take_all(lanes)
        rounds.append(len(flying))
        for lease in flying:
            lanes.learn(lease, PROMPT, 0.0)
        for lease in flying:
            lanes.done(lease)
    assert all(after - before <= 1 for before, after in itertools.pairwise(rounds)), "one more with each round"
    assert (rounds[0], rounds[-1] > 5) == (1, True)


def test_slowness_is_remembered_and_forgiven() -> None:
    lanes = _proven(LaneLimits(), "a", attempt=SLOW)
    assert lanes.held == 0
    assert _hold(lanes, "a", 10) in {4, 5}
    assert lanes.states(0.0)["slow"] == 1
    for lease in _take_all(lanes):
        _end(lanes, lease)
    assert _hold(lanes, "a", 10) == 10
    assert lanes.states(0.0)["moving"] == 1


def test_a_slow_endpoint_that_accepts_is_given_more() -> None:
    lanes = _proven(WIDE, "a", attempt=SLOW)
    for _ in range(10):
        _hold(lanes, "a", 20)
        for lease in _take_all(lanes):
            _end(lanes, lease, SLOW)
    assert _hold(lanes, "a", 20) == WIDE.lane_in_flight_max


def test_the_first_success_after_an_outage_is_told_and_then_each_retry() -> None:
    lanes = _proven(LaneLimits(), "a")

    def attempt(outcome: Attempt, attempts_made: int = 0) -> bool:
        _hold(lanes, "a", attempts_made=attempts_made)
        (lease,) = _take_all(lanes)
        return _end(lanes, lease, outcome)

    assert not attempt(PROMPT)
    assert [attempt(REFUSED) for _ in range(3)] == [False] * 3
    assert attempt(PROMPT), "the endpoint is back"
    assert not attempt(PROMPT), "a first attempt shows nothing new"
    assert attempt(PROMPT, attempts_made=1)
    assert not attempt(REFUSED, attempts_made=1)
    assert not attempt(PROMPT, attempts_made=1), "one failure is no outage"
    assert attempt(changed(PROMPT, number=4), attempts_made=3), "nor does this worker need to have seen it"


# --------------------------------------------------------------------------- holding


def test_a_lane_that_turns_out_to_hang_gives_back_what_waits_and_keeps_what_flies() -> None:
    lanes = _proven(LIMITS, *"ab")
    _hold(lanes, "a", 5)
    _hold(lanes, "b", 3, organization_id="other")
    flying = _take_all(lanes)
    assert lanes.evict(1.0) == []
    for lease in flying:
        if lease.endpoint.id == "b":
            _end(lanes, lease)
    assert lanes.evict(1.1) == [], "it may answer another"
    assert lanes.states(1.1) == {"moving": 1, "full": 0, "unproven": 0, "slow": 1, "gated": 0}
    assert not _hold(lanes, "a", 1, 1.1)
    assert _hold(lanes, "b", 1, 1.1, organization_id="other")
    evicted = lanes.evict(2.1)
    assert {lease.endpoint.id for lease in evicted} == {"a"}


def test_nothing_is_given_back_that_would_be_taken_again_at_once() -> None:
    """Else a worker whose slots are all taken would claim and release the same deliveries in circles."""
    lanes = _proven(replace(LIMITS, in_flight_max=1, lane_in_flight_max=3), "a")
    _hold(lanes, "a", 5)
    _take_all(lanes)
    lanes.evict(5.0)
    assert lanes.evict(6.0)
    assert lanes.share_out([Turn("a")], 9, 9, 5.0) == {}
    assert lanes.evict(5.0) == []


def test_a_full_lane_refuses_and_a_full_worker_refuses_all() -> None:
    lanes = _proven(LIMITS, *"abcd")
    assert [_hold(lanes, name, 9) for name in "abc"] == [5, 5, 2]
    assert lanes.is_full
    assert not _hold(lanes, "d")
    assert lanes.states(0.0)["full"] == 2
    lease = lanes.take(0.0)
    assert lease is not None
    _end(lanes, lease)
    assert not lanes.is_full
    assert _hold(lanes, "d")


def test_a_gated_lane_takes_nothing_until_its_time() -> None:
    lanes = _proven(LIMITS, "a")
    _hold(lanes, "a", 3)
    flying = lanes.take(0.0)
    assert len(lanes.gate("a", 10.0)) == 2, "not one more of them is sent"
    assert lanes.take(0.0) is None
    assert not lanes.gate("a", 5.0)  # the later one holds
    assert not _hold(lanes, "a", 1, 9.0)
    assert flying is not None
    _end(lanes, flying)
    assert lanes.take(9.0) is None
    assert lanes.states(9.0)["gated"] == 0, "with nothing held, the gates table remembers"
    lanes.gate("unknown", 10.0)


def test_draining_takes_everything_out() -> None:
    lanes = _proven(LIMITS, *"ab")
    _hold(lanes, "a", 3)
    _hold(lanes, "b", 3)
    lanes.take(0.0)
    assert len(lanes.evict(0.0, everything=True)) == 5
    assert (lanes.held, lanes.in_flight) == (1, 1)
    assert lanes.take(0.0) is None


def test_a_claim_goes_to_those_served_longest_ago_and_to_few_that_may_hang() -> None:
    lanes = _proven(WIDE, "p", "q")
    turns = [Turn(each) for each in ("p", *(f"h{number}" for number in range(100)), "q")]
    first = lanes.share_out(turns, 500, 100, 1.0)
    assert {"p", "q"} <= first.keys()
    assert sum(count for name, count in first.items() if name.startswith("h")) <= WIDE.unsure_max
    for name, count in first.items():
        for _ in range(count):
            lanes.cancel(name)
    second = lanes.share_out(turns, 500, 100, 2.0)
    assert not first.keys() & second.keys() - {"p", "q"}, "it is the turn of the others"
    assert lanes.share_out(turns, 0, 100, 3.0) == {}


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Hooks.example.com/a?b=c", "hooks.example.com"),
        ("http://127.0.0.1:8080/x", "127.0.0.1"),
        ("https://[::1]:8080/x", "[::1]"),
        ("https://example.com", "example.com"),
        ("nonsense", ""),
    ],
)
def test_hosts(url: str, host: str) -> None:
    assert host_of(url) == host


# --------------------------------------------------------------------------- any order of calls


def _turn(name: str) -> Turn:
    organization_id, host = PLACES[name]
    return Turn(name, organization_id, f"https://{host}.example/", is_limited=name == "d")


ENDINGS = (PROMPT, SLOW, TIMEOUT, REFUSED, OVERLOADED, OURS, None)
PLACES = {"a": ("org_1", "one"), "b": ("org_1", "two"), "c": ("org_2", "two"), "d": ("org_3", "two")}


class Walk(RuleBasedStateMachine):
    """Any order of calls; a model counts along."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes(LIMITS)
        self.now = 0.0
        self.reserved: list[str] = []
        self.waiting: dict[str, list[Lease]] = {name: [] for name in NAMES}
        self.flying: list[Lease] = []
        self.passed_over: Counter[str] = Counter()

    def _lease(self, name: str, attempts_made: int = 0) -> Lease:
        organization_id, host = PLACES[name]
        return _lease(name, organization_id=organization_id, host=host, attempts_made=attempts_made)

    def _put(self, name: str, attempts_made: int) -> None:
        lease = self._lease(name, attempts_made)
        self.lanes.put(lease)
        self.waiting[name].append(lease)

    @rule(name=st.sampled_from(NAMES), puts=st.booleans(), attempts_made=st.sampled_from([0, 0, 1]))
    def reserve(self, name: str, puts: bool, attempts_made: int) -> None:  # noqa: FBT001
        if not _reserve(self.lanes, self._lease(name), self.now):
            return
        if puts:
            self._put(name, attempts_made)
        else:
            self.reserved.append(name)

    @rule(names=st.permutations(NAMES), limit=st.integers(0, 9))
    def share_out(self, names: list[str], limit: int) -> None:
        granted = self.lanes.share_out([_turn(name) for name in names], limit, 3, self.now)
        assert sum(granted.values()) <= limit
        self.reserved += [name for name, count in granted.items() for _ in range(count)]

    @precondition(lambda self: self.reserved)
    @rule(puts=st.booleans(), attempts_made=st.sampled_from([0, 1]))
    def resolve(self, puts: bool, attempts_made: int) -> None:  # noqa: FBT001
        name = self.reserved.pop(0)
        if puts:
            self._put(name, attempts_made)
        else:
            self.lanes.cancel(name)

    @rule()
    def take(self) -> None:
        could = {name for name in NAMES if self._could_send(name)}
        lease = self.lanes.take(self.now)
        if lease is None:
            assert not could, "somebody waits, and there is a slot"
            return
        name = lease.endpoint.id
        line = [each for each in self.waiting[name] if bool(each.delivery.attempts_made) == _is_retry(lease)]
        assert line[0] is lease, "first come, first served"
        self.waiting[name].remove(lease)
        self.flying.append(lease)
        for other in NAMES:
            self.passed_over[other] = self.passed_over[other] + 1 if other in could and other != name else 0
            assert self.passed_over[other] < 6 * len(NAMES), f"{other} never has its turn"

    def _could_send(self, name: str) -> bool:
        """Whether the lane's own limit, and every share it falls under, leave a slot for one of its leases."""
        lane = self.lanes._lanes.get(name)
        if lane is None or not self.waiting[name] or lane.in_flight >= int(lane.pace.limit):
            return False
        slots = self.lanes._slots
        prompt, stalled = slots._prompt.values(), slots._stalled.values()
        if lane.pace.is_unsure:
            return len(slots._unsure) < LIMITS.unsure_max
        free_in_all = 2 * LIMITS.in_flight_max - len(prompt) - len(stalled)
        if sum(flight.host == lane.host for flight in prompt) >= LIMITS.host_in_flight_max or slots.is_barred(
            lane.organization_id
        ):
            return False
        if len(prompt) >= LIMITS.in_flight_max or free_in_all <= 0:
            return False
        has_first = any(not _is_retry(lease) for lease in self.waiting[name])
        return has_first or sum(flight.kind == 1 for flight in prompt) < LIMITS.retries_max

    @precondition(lambda self: self.flying)
    @rule(index=st.integers(0, 7), ending=st.sampled_from(ENDINGS))
    def done(self, index: int, ending: Attempt | None) -> None:
        lease = self.flying.pop(index % len(self.flying))
        self.lanes.learn(lease, ending, self.now)
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
        for name, lane in self.lanes._lanes.items():
            if lane.is_unsure and self.now - lane.unsure_since >= LIMITS.stall_seconds and self.waiting[name]:
                assert self._held(name) <= int(lane.pace.limit), "what waits behind a hung request goes back"
            assert not (everything and self.waiting[name])

    def _flying(self, name: str) -> int:
        return sum(lease.endpoint.id == name for lease in self.flying)

    def _held(self, name: str) -> int:
        return self._flying(name) + len(self.waiting[name]) + self.reserved.count(name)

    @invariant()
    def the_books_agree(self) -> None:
        lanes, slots = self.lanes, self.lanes._slots
        assert lanes.in_flight == len(self.flying)
        assert lanes.held == sum(map(self._held, NAMES))
        by_group: Counter[tuple[str, ...]] = Counter()
        for lane in lanes._lanes.values():
            assert lane.is_unsure is lane.pace.is_unsure
            assert lane.stalled == sum(flight.lane is lane for flight in slots._stalled.values())
            if lane.is_unsure:
                count = lane.held - lane.stalled
                by_group["organization", lane.organization_id] += count
                by_group["host", lane.host] += count
                by_group["both", lane.organization_id, lane.host] += count
        assert +by_group == lanes._unsure_held_by
        assert lanes.unsure_held == sum(count for group, count in by_group.items() if group[0] == "host")
        prompt = slots._prompt.values()
        assert Counter(flight.host for flight in prompt) == slots._prompt_at
        assert Counter(flight.organization_id for flight in slots._stalled.values()) == slots._stalled_of
        assert sum(flight.kind == 1 for flight in prompt) == slots._retry_count

    @invariant()
    def no_bound_is_passed(self) -> None:
        slots = self.lanes._slots
        assert len(slots._prompt) <= LIMITS.in_flight_max
        assert len(slots._prompt) + len(slots._stalled) <= 2 * LIMITS.in_flight_max
        assert len(slots._unsure) <= LIMITS.unsure_max
        assert 0 <= self.lanes.held <= LIMITS.held_max
        for name in NAMES:
            assert self._held(name) <= LIMITS.lane_held_max
            assert self._flying(name) <= LIMITS.lane_in_flight_max

    @invariant()
    def an_idle_lane_is_forgotten(self) -> None:
        """Memory is bounded by what is held, not by how many endpoints there ever were."""
        if not self.lanes.held and self.lanes.take(self.now) is None:
            assert not self.lanes._lanes

    def teardown(self) -> None:
        while self.reserved:
            self.resolve(puts=False, attempts_made=0)
        self.lanes.evict(self.now, everything=True)
        while self.flying:
            self.lanes.done(self.flying.pop())
        assert self.lanes.take(self.now) is None
        lanes, slots = self.lanes, self.lanes._slots
        assert (lanes.held, lanes.in_flight, lanes.unsure_held) == (0, 0, 0)
        assert (lanes._lanes, slots._parked_at, slots._parked_of) == ({}, {}, {})


def _is_retry(lease: Lease) -> bool:
    return lease.delivery.attempts_made > 0


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
