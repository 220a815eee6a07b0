"""What one step of a replay job decides, and how much it may do."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.replays.job import ENDED, ORDERS, OrderRefused, ReplayOrder, ReplayState, SkipReason, obeyed
from service.core.replays.step import (
    OPEN_MAX,
    STEP_MAX,
    WINDOW_MIN,
    WINDOW_SECONDS,
    Candidate,
    decide,
    dropped_reason,
    has_room,
    is_ripe,
    looked_at,
    most_of,
    next_window,
    tokens_after,
)


def candidate(event: int, subscription: int = 1, number: int = 0, newest: int = 0, **changes: bool) -> Candidate:
    facts = {"is_subscribed": True, "has_event": True, **changes}
    return Candidate(UUID(int=event), subscription, number, newest, facts["is_subscribed"], facts["has_event"])


def test_each_candidate_is_made_again_or_skipped_for_a_reason() -> None:
    decided = decide(
        [
            candidate(1),
            candidate(2, newest=1),
            candidate(3, is_subscribed=False),
            candidate(4, has_event=False),
            candidate(5, number=2, newest=2),
        ],
        10,
    )
    assert [each.event_uid.int for each in decided.made] == [1, 5]
    assert decided.skipped == dict.fromkeys(SkipReason, 1)
    assert (decided.through, decided.has_all) == ((UUID(int=5), 1), True)


def test_it_stops_before_the_first_that_would_be_one_too_many() -> None:
    candidates = [candidate(1), candidate(2, newest=1), candidate(3), candidate(4, is_subscribed=False), candidate(5)]
    decided = decide(candidates, 2)
    assert [each.event_uid.int for each in decided.made] == [1, 3]
    assert (decided.skipped.get(SkipReason.SUPERSEDED), decided.through) == (1, (UUID(int=4), 1))
    assert not decided.has_all


def test_all_deliveries_of_an_event_to_a_subscription_are_dealt_with_together() -> None:
    candidates = [candidate(1), candidate(2, number=0, newest=1), candidate(2, number=1, newest=1)]
    decided = decide(candidates, 1)
    assert (decided.through, decided.has_all) == ((UUID(int=1), 1), False)
    decided = decide(candidates, 2)
    assert [each.replay_number for each in decided.made] == [0, 1]
    assert (decided.skipped, decided.has_all) == ({SkipReason.SUPERSEDED: 1}, True)


def test_nothing_to_decide() -> None:
    decided = decide([], 5)
    assert (decided.made, decided.skipped, decided.through, decided.has_all) == ([], {}, None, True)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 2), st.booleans(), st.booleans()), unique_by=lambda x: x[:2]),
    st.lists(st.integers(1, 5)),
)
def test_step_by_step_each_is_dealt_with_once_and_in_order(
    rows: list[tuple[int, int, bool, bool]], rooms: list[int]
) -> None:
    candidates = [
        candidate(event, subscription, newest=int(is_superseded), is_subscribed=is_subscribed)
        for event, subscription, is_superseded, is_subscribed in sorted(rows)
    ]
    made: list[Candidate] = []
    skipped, left = 0, candidates
    for room in [*rooms, *[3] * len(candidates), 1]:
        decided = decide(left, room)
        assert len(decided.made) <= room
        made += decided.made
        skipped += sum(decided.skipped.values())
        through = decided.through
        left = [each for each in left if through is None or (each.event_uid, each.subscription_id) > through]
        assert decided.has_all == (not left)
    assert made == [each for each in candidates if each.skipped_because is None]
    assert len(made) + skipped == len(candidates)


def test_tokens_grow_with_time_up_to_a_second_of_the_rate() -> None:
    assert tokens_after(0, 100, 0.1) == pytest.approx(10)
    assert tokens_after(50, 100, 3_600) == 100
    assert tokens_after(7, 100, -5) == 7
    assert tokens_after(0, 1, 3_600) == 1


def test_a_step_waits_until_it_is_worth_a_commit() -> None:
    assert not is_ripe(9.9, 100)
    assert is_ripe(10, 100)
    assert not is_ripe(0.9, 1)
    assert is_ripe(1, 1)


def test_a_part_makes_what_rate_window_and_open_deliveries_allow() -> None:
    assert most_of(5.9, 100, 0, 0) == 5
    assert most_of(500, 20, 15, 15) == 5
    assert most_of(500, 20, 30, 30) == 0
    assert most_of(5_000, 5_000, 0, 0) == STEP_MAX
    assert most_of(500, 500, 0, OPEN_MAX - 3) == 3
    assert looked_at(1) < looked_at(400) < looked_at(STEP_MAX) == STEP_MAX


@given(st.integers(1, 1000), st.integers(0, 3000))
def test_the_window_stays_within_its_bounds(rate: int, waiting: int) -> None:
    window = WINDOW_MIN
    for _ in range(12):
        window = next_window(window, min(waiting, window), rate)
        assert WINDOW_MIN <= window <= max(WINDOW_MIN, WINDOW_SECONDS * rate)


def test_a_step_waits_until_a_quarter_of_the_window_is_free() -> None:
    assert has_room(WINDOW_MIN, 3, 3)
    assert has_room(100, 75, 80)
    assert not has_room(100, 76, 80)
    assert not has_room(100, 0, OPEN_MAX)


def test_the_window_grows_while_the_endpoint_keeps_up_and_shrinks_when_it_does_not() -> None:
    assert next_window(8, 2, 100) == 16
    assert next_window(8, 4, 100) == 8
    assert next_window(8, 5, 100) == WINDOW_MIN
    assert next_window(40, 0, 100) == 50


def test_what_retention_took_is_told() -> None:
    assert dropped_reason(0) is None
    assert str(dropped_reason(1)).startswith("1 delivery was past retention")
    assert str(dropped_reason(2)).startswith("2 deliveries were past retention")


def test_orders() -> None:
    assert set(ORDERS) == set(ReplayState)
    for state in ReplayState:
        for order in ReplayOrder:
            following = obeyed(state, order)
            if isinstance(following, OrderRefused):
                assert state in ENDED
                assert following.sentence == f"the replay is {state}; it cannot {order} any more"
            else:
                assert obeyed(following, order) is following, "twice is a no-op"
