"""Figures in sentences."""

import pytest

from service.core.wording import count_of, signed_seconds


@pytest.mark.parametrize(("count", "told"), [(0, "0 endpoints"), (1, "1 endpoint"), (2, "2 endpoints")])
def test_a_count_has_its_noun_in_the_right_number(count: int, told: str) -> None:
    assert count_of(count, "endpoint") == told


def test_a_plural_may_be_irregular() -> None:
    assert [count_of(count, "delivery", "deliveries") for count in (1, 3)] == ["1 delivery", "3 deliveries"]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, "0.000 s"),
        (-0.0, "0.000 s"),
        (-0.0004, "0.000 s"),
        (0.0004, "0.000 s"),
        (-1.5, "-1.500 s"),
        (2, "+2.000 s"),
    ],
)
def test_what_rounds_to_nothing_has_no_sign(seconds: float, told: str) -> None:
    assert signed_seconds(seconds) == told
