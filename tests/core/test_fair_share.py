"""Fairness of a claim."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.deliveries.fair_share import fair_shares


@pytest.mark.parametrize(
    ("turns", "limit", "per_endpoint_limit", "room", "shares"),
    [
        ("", 10, 5, {}, []),
        ("a", 10, 5, {}, [5]),
        ("ab", 10, 100, {}, [5, 5]),
        ("abc", 10, 100, {}, [3, 3, 3]),
        ("abc", 3, 100, {}, [1, 1, 1]),
        ("ab", 10, 100, {"a": 2}, [2, 5]),
        ("ab", 10, 100, {"a": 0, "b": -1}, [0, 0]),
        ("ab", 10, 100, {"a": 50}, [5, 5]),
    ],
)
def test_shares(turns: str, limit: int, per_endpoint_limit: int, room: dict[str, int], shares: list[int]) -> None:
    dealt = fair_shares(turns, limit, per_endpoint_limit=per_endpoint_limit, room=room)
    assert list(dealt) == list(turns)
    assert list(dealt.values()) == shares


@given(st.integers(1, 50), st.integers(0, 50), st.integers(1, 50), st.integers(-5, 50))
def test_the_shares_never_exceed_the_claim(count: int, more: int, per_endpoint_limit: int, room: int) -> None:
    turns, limit = [str(number) for number in range(count)], count + more
    shares = fair_shares(turns, limit, per_endpoint_limit=per_endpoint_limit, room={"0": room}).values()
    assert sum(shares) <= limit
    assert all(0 <= share <= per_endpoint_limit for share in shares)
