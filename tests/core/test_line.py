"""The line of an event, and whose turn it is in a line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.deliveries.line import AGAIN, NEXT, Head, Next, Turn, Wait, whose_turn
from service.core.endpoints.filter.filter import decode_envelope
from service.core.endpoints.order import line_of

WAIT_SECONDS = 60.0
LEASED = Head(is_open=True, is_leased=True)


def envelope(value: object) -> dict[str, object]:
    return {"data": {"message": {"id": value}}}


@pytest.mark.parametrize("value", ["", "m", "é", "\ud800", 1, 0, -1, 1.5, 2**80])
def test_a_text_or_a_number_is_a_key(value: object) -> None:
    line = line_of("ep_1", "data.message.id", envelope(value))
    assert line is not None
    assert line == line_of("ep_1", "data.message.id", envelope(value))
    assert line != line_of("ep_2", "data.message.id", envelope(value))


@pytest.mark.parametrize("value", [None, True, False, [], ["m"], {}, {"m": 1}])
def test_anything_else_is_none(value: object) -> None:
    assert line_of("ep_1", "data.message.id", envelope(value)) is None


@pytest.mark.parametrize("path", ["data.message", "data.message.id.x", "data.thread", "x", "data..id"])
def test_a_path_that_leads_nowhere_orders_nothing(path: str) -> None:
    assert line_of("ep_1", path, envelope("m")) is None


@pytest.mark.parametrize(("one", "other"), [("1", 1), (1, 1.5), ("m", "M"), ("é", "e\u0301"), (2**53, 2**53 + 1)])
def test_other_values_are_other_lines(one: object, other: object) -> None:
    assert line_of("ep_1", "data.message.id", envelope(one)) != line_of("ep_1", "data.message.id", envelope(other))


def test_a_whole_number_is_one_key_however_it_is_written() -> None:
    lines = [line_of("ep_1", "a", decode_envelope(b'{"a": %s}' % text)) for text in (b"1", b"1.0", b"10e-1")]
    assert len(set(lines)) == 1


def test_the_same_value_at_another_path_is_another_line() -> None:
    both = {"a": "m", "b": "m"}
    assert line_of("ep_1", "a", both) != line_of("ep_1", "b", both)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(JSON)
def test_no_value_breaks_it(value: object) -> None:
    line_of("ep_1", "data.message.id", decode_envelope(json.dumps(envelope(value)).encode()))


@pytest.mark.parametrize(
    ("head", "turn"),
    [
        (None, NEXT),
        (Head(is_open=False), NEXT),
        (Head(is_open=False, failed_seconds=1.0), NEXT),
        (LEASED, Wait()),
        (Head(is_open=True, is_leased=True, failed_seconds=1000.0), Wait()),
        (Head(is_open=True, is_due=True), AGAIN),
        (Head(is_open=True), AGAIN),
        (Head(is_open=True, is_due=True, failed_seconds=1000.0), AGAIN),
        (Head(is_open=True, failed_seconds=20.0), Wait(40.0)),
        (Head(is_open=True, failed_seconds=60.0), Next(gives_way=True)),
    ],
)
def test_whose_turn_it_is(head: Head | None, turn: Turn) -> None:
    assert whose_turn(head, WAIT_SECONDS) == turn
