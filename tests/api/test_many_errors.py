"""A body with thousands of errors: a few are told, and the answer says that there are more."""

import json
from typing import Any

import pytest

from service.api.errors import ApiError
from service.api.v1.endpoints.bodies import NewEndpoint
from service.api.v1.endpoints.wish import read_wish
from service.api.v1.event_types import NewEventType
from service.api.validation import BODY_BYTES_MAX, ERRORS_MAX, parse_body

URL = {"url": "https://x.example/"}


@pytest.mark.parametrize(
    "body",
    [
        {f"k{number}": 1 for number in range(5_000)},
        {**URL, "metadata": {f"k{number}": 1 for number in range(5_000)}},
        {**URL, "description": {f"k{number}\0": 1 for number in range(3_000)}},
    ],
    ids=["unknown fields", "wrong values", "unstorable names"],
)
def test_of_thousands_of_errors_a_hundred_are_told(body: dict[str, Any]) -> None:
    sent = json.dumps(body, separators=(",", ":")).encode()
    assert len(sent) <= BODY_BYTES_MAX
    for read in (lambda: read_wish(NewEndpoint, sent), lambda: parse_body(NewEndpoint, sent)):
        with pytest.raises(ApiError) as raised:
            read()
        assert len(raised.value.errors) == ERRORS_MAX + 1
        assert raised.value.errors["body"] == ["has more errors; 100 are told"]


def test_of_a_list_with_thousands_of_errors_the_first_is_told() -> None:
    sent = json.dumps({**URL, "event_types": [1] * 30_000}, separators=(",", ":")).encode()
    wish = read_wish(NewEndpoint, sent)
    assert wish.unreadable == {"event_types[0]": ["must be text"]}
    assert "event_types" not in wish.given


def test_a_hundred_errors_are_all_told() -> None:
    sent = json.dumps({f"k{number}": 1 for number in range(ERRORS_MAX - 2)}).encode()
    with pytest.raises(ApiError) as raised:
        parse_body(NewEventType, sent)
    assert len(raised.value.errors) == ERRORS_MAX
    assert "body" not in raised.value.errors
