"""Fairness of a claim."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.deliveries.fairness.fair_share import Turn, fair_shares


def _turns(**endpoints: str) -> list[Turn]:
    return [Turn(each, organization) for organization, ids in endpoints.items() for each in ids]


@pytest.mark.parametrize(
    ("turns", "limit", "per_endpoint_limit", "shares"),
    [
        ({}, 10, 5, {}),
        ({"x": "a"}, 10, 5, {"a": 5}),
        ({"x": "ab"}, 10, 100, {"a": 5, "b": 5}),
        ({"x": "abc"}, 10, 100, {"a": 3, "b": 3, "c": 3}),
        ({"x": "abc"}, 3, 100, {"a": 1, "b": 1, "c": 1}),
        ({"x": "abc"}, 2, 100, {"a": 1, "b": 1}),
        ({"x": "abc"}, 0, 100, {}),
        ({"x": "abcd", "y": "e"}, 20, 100, {"a": 2, "b": 2, "c": 2, "d": 2, "e": 10}),
        ({"x": "abcd", "y": "e"}, 4, 100, {"a": 1, "b": 1, "e": 2}),
        ({"x": "ab", "y": "c", "z": "d"}, 2, 100, {"a": 1, "c": 1}),
    ],
)
def test_shares(turns: dict[str, str], limit: int, per_endpoint_limit: int, shares: dict[str, int]) -> None:
    assert fair_shares(_turns(**turns), limit=limit, per_endpoint_limit=per_endpoint_limit) == shares


@given(st.lists(st.sampled_from("uvwxyz"), max_size=60), st.integers(-1, 100), st.integers(1, 50))
def test_the_shares_never_exceed_the_claim(organizations: list[str], limit: int, per_endpoint_limit: int) -> None:
    turns = [Turn(str(number), organization) for number, organization in enumerate(organizations)]
    shares = fair_shares(turns, limit=limit, per_endpoint_limit=per_endpoint_limit)
    assert sum(shares.values()) <= max(0, limit)
    assert all(0 < share <= per_endpoint_limit for share in shares.values())
    of = Counter[str]()
    for turn in turns:
        of[turn.organization_id] += shares.get(turn.endpoint_id, 0)
    assert all(count <= max(1, limit // len(of)) for count in of.values())
