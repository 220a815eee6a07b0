"""A message's properties: read whatever they are, and sent again byte by byte."""

import struct
from base64 import b64decode
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import encode
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from service.adapters.rabbitmq.delivery import Delivery
from service.adapters.rabbitmq.parking import DETAIL_CHARACTERS_MAX, PROPERTIES_BYTES_MAX, parked_properties
from service.adapters.rabbitmq.properties import (
    HEADERS_COUNT_MAX,
    HEADERS_DEPTH_MAX,
    PROPERTIES,
    UnreadableError,
    join_properties,
    split_properties,
    text_of,
    top_level,
)
from service.core.reason import ParkReason
from tests.contract.raw_producer import entry, nested, short, table

AT = datetime(2026, 11, 22, tzinfo=UTC)
EVERY_TYPE = {
    b"t": b"\x01",
    b"b": b"\xff",
    b"B": b"\xff",
    b"s": b"\xff\xff",
    b"u": b"\xff\xff",
    b"I": b"\xff" * 4,
    b"i": b"\xff" * 4,
    b"l": b"\xff" * 8,
    b"L": b"\xff" * 8,
    b"f": b"\xff" * 4,
    b"d": b"\xff" * 8,
    b"D": b"\x02\xff\xff\xff\xff",
    b"T": b"\xff" * 8,
    b"V": b"",
    b"S": table(b"\xff\x00"),
    b"x": table(b"\xff\x00"),
    b"A": table(b"V", b"t\x01", b"A" + table()),
    b"F": table(entry(b"deep", b"V", b"")),
}


def encoded(flags: int, *values: bytes) -> bytes:
    return struct.pack(">H", flags) + b"".join(values)


def headers(*entries: bytes) -> bytes:
    return encoded(0x2000, table(*entries))


def decoded(properties: bytes) -> Basic.Properties:
    header = ContentHeader()
    header.unmarshal(bytes(12) + properties)
    return header.properties


def test_all_properties_are_found_as_the_library_writes_them() -> None:
    values = Basic.Properties(
        "application/json",
        "gzip",
        {"a": 1, "b": ["x", {"c": None}]},
        2,
        9,
        "c",
        "r",
        "1000",
        "evt_1",
        None,
        "t",
        "u",
        "a",
    )
    found = split_properties(values.marshal())
    assert found.keys() == PROPERTIES.keys() - {"timestamp", "cluster_id"}
    assert (text_of(found["content_type"]), text_of(found["message_id"])) == ("application/json", "evt_1")
    assert [name for name, _ in top_level(found["headers"])] == [b"a", b"b"]
    assert join_properties(found) == values.marshal()


@pytest.mark.parametrize("kind", EVERY_TYPE, ids=bytes.decode)
def test_a_header_of_every_type_is_read_and_one_that_is_cut_off_is_not(kind: bytes) -> None:
    whole = headers(entry(b"first", kind, EVERY_TYPE[kind]), entry(b"last", b"V", b""))
    found = split_properties(whole)
    assert b"".join(each for _, each in top_level(found["headers"])) == whole[6:]
    for length in range(len(whole)):
        with pytest.raises(UnreadableError):
            split_properties(whole[:length])
    if EVERY_TYPE[kind]:
        with pytest.raises(UnreadableError):
            split_properties(headers(entry(b"first", kind, EVERY_TYPE[kind][:-1])))


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        (encoded(0x0080, short(b"\xff")), "message_id is not UTF-8"),
        (encoded(0x8000, short(b"\xc3")), "content_type is not UTF-8"),
        (headers(entry(b"\xff", b"V", b"")), "the name of a header is not UTF-8"),
        (headers(entry(b"a", b"F", table(entry(b"\xff", b"V", b"")))), "the name of a header is not UTF-8"),
        (headers(entry(b"a", b"Q", b"")), "unknown type 0x51"),
        (encoded(0x2000, nested(HEADERS_DEPTH_MAX + 1)), "nested deeper than 16"),
        (encoded(0x2000, nested(18_000)), "nested deeper than 16"),
        (headers(*[entry(b"", b"V", b"")] * (HEADERS_COUNT_MAX + 1)), "more than 1024"),
        (encoded(0x0001, b"\x00\x00"), "flags of unknown properties"),
        (encoded(0x0002), "flags of unknown properties"),
        (encoded(0, b"zzz"), "after the last"),
        (b"", "cut off"),
    ],
)
def test_what_amqp_does_not_allow_is_named(properties: bytes, told: str) -> None:
    with pytest.raises(UnreadableError, match=told):
        split_properties(properties)


def test_tables_may_be_nested_within_reason() -> None:
    assert split_properties(encoded(0x2000, nested(HEADERS_DEPTH_MAX))).keys() == {"headers"}


@given(st.binary(max_size=300))
@example(encoded(0xFFFC) + bytes(300))
def test_no_bytes_raise_anything_else(properties: bytes) -> None:
    try:
        found = split_properties(properties)
    except UnreadableError:
        return
    assert join_properties(found) == properties
    assert b"".join(each for _, each in top_level(found.get("headers", table()))) == found.get("headers", table())[4:]


values = st.recursive(
    st.one_of(
        st.text(max_size=20),
        st.binary(max_size=20).map(bytearray),
        st.integers(-(2**31), 2**31 - 1),
        st.booleans(),
        st.none(),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
mutations = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3)


@given(st.dictionaries(st.text(max_size=5), values, max_size=5), st.text(max_size=20), mutations)
def test_whatever_came_is_parked_so_that_any_client_can_read_it(
    table_: dict[str, object], message_id: str, changed: list[tuple[int, int]]
) -> None:
    original = bytearray(encoded(0x2080, encode.field_table(table_), short(message_id.encode())))  # type: ignore[arg-type]
    for at, value in changed:
        original[at % len(original)] = value
    delivery = Delivery(1, False, b"events\xff", b"message.\xff", bytes(original), 0)  # noqa: FBT003 - its own field
    parked = parked_properties(delivery, ParkReason.BAD_JSON, "why", AT)
    found = split_properties(parked)
    headers_of = decoded(parked).headers
    assert headers_of is not None
    assert {"x-posthorn-reason", "x-posthorn-detail"} <= headers_of.keys()
    assert headers_of["x-posthorn-routing-key"] == "message.\\xff"
    if "x-posthorn-properties" in headers_of:
        assert b64decode(str(headers_of["x-posthorn-properties"])) == bytes(original)
    else:
        before = split_properties(bytes(original))
        found = split_properties(parked)
        assert found.get("message_id") == before.get("message_id")
        assert set(top_level(before.get("headers", table()))) <= set(top_level(found["headers"]))


BEYOND = b"\xff" * 8


def test_a_timestamp_from_beyond_the_calendar_stays_behind() -> None:
    odd = encoded(0x20C0, table(entry(b"theirs", b"V", b"")), short(b"evt_1"), BEYOND)
    alone = decoded(parked_properties(delivery_with(odd), ParkReason.BAD_JSON, "x", AT))
    assert (alone.message_id, alone.timestamp) == ("evt_1", None)
    assert alone.headers is not None
    assert "theirs" in alone.headers

    odd = encoded(0x2080, table(entry(b"when", b"A", table(b"T" + BEYOND))), short(b"evt_1"))
    in_a_header = decoded(parked_properties(delivery_with(odd), ParkReason.BAD_JSON, "x", AT))
    assert in_a_header.message_id == "evt_1"
    assert in_a_header.headers is not None
    assert b64decode(str(in_a_header.headers["x-posthorn-properties"])) == odd


def delivery_with(properties: bytes) -> Delivery:
    return Delivery(1, False, b"events", b"message.sent", properties, 0)  # noqa: FBT003 - its own field


def original(properties: Basic.Properties) -> Delivery:
    return delivery_with(properties.marshal())


def test_what_the_broker_would_refuse_or_act_on_is_not_parked_with() -> None:
    given_ = Basic.Properties(
        user_id="producer", expiration="1000", reply_to="q", priority=9, message_id="1", correlation_id="c"
    )
    properties = decoded(parked_properties(original(given_), ParkReason.BAD_JSON, "x", AT))
    assert (properties.user_id, properties.expiration, properties.reply_to, properties.priority) == (None,) * 4
    assert (properties.message_id, properties.correlation_id, properties.delivery_mode) == ("1", "c", 2)


def test_headers_too_large_to_be_sent_again_stay_behind_and_ours_are_not_there_twice() -> None:
    huge = Basic.Properties(headers={"huge": "x" * PROPERTIES_BYTES_MAX}, message_id="1")
    properties = decoded(parked_properties(original(huge), ParkReason.BAD_JSON, "x" * 5000, AT))
    assert properties.message_id == "1"
    assert properties.headers is not None
    assert properties.headers.keys() == {
        "x-posthorn-reason",
        "x-posthorn-detail",
        "x-posthorn-parked-at",
        "x-posthorn-exchange",
        "x-posthorn-routing-key",
    }
    assert properties.headers["x-posthorn-detail"] == "x" * DETAIL_CHARACTERS_MAX

    before = Basic.Properties(headers={"x-posthorn-reason": "bad_json", "theirs": 1})
    again = split_properties(parked_properties(original(before), ParkReason.CONFLICT, "x", AT))
    names = [name for name, _ in top_level(again["headers"])]
    assert sorted(names) == sorted(set(names))
    assert b"theirs" in names
