"""What becomes an event, and what is parked, with which reason."""

import json
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.events.event import BODY_BYTES_MAX, CLOUDEVENTS, DEPTH_MAX, Event, Rejected, parse_event
from service.core.events.registry import REGISTRY
from service.core.reason import ParkReason
from service.core.timestamp import format_timestamp, parse_timestamp
from tests.fakes.clock import START as NOW
from tests.fakes.events import EXAMPLE_DATA, body_of, envelope


def _parsed(body: bytes, **arguments: Any) -> Event:
    parsed = parse_event(body, NOW, **arguments)
    assert isinstance(parsed, Event), parsed
    return parsed


def _rejected(body: bytes, reason: ParkReason, field: str | None = None, **arguments: Any) -> Rejected:
    parsed = parse_event(body, NOW, **arguments)
    assert isinstance(parsed, Rejected), parsed
    assert (parsed.reason, parsed.field) == (reason, field)
    return parsed


def _with(raw: str, name: str = "extra") -> bytes:
    """The envelope with one more member, written as is."""
    return body_of()[:-1] + f',"{name}":{raw}}}'.encode()


def _without(name: str) -> bytes:
    fields = envelope()
    del fields[name]
    return json.dumps(fields).encode()


# --------------------------------------------------------------------------- the envelope as it goes out


def test_the_envelope_goes_out_compact_and_complete() -> None:
    body = json.dumps(envelope(data={"message": EXAMPLE_DATA["message.sent"]["message"]}), indent=2).encode()
    event = _parsed(body)
    data = json.dumps(envelope()["data"], indent=2)
    start = b'{"id":"evt_1","type":"message.sent","timestamp":"2026-11-20T17:59:59.000000Z","organization_id":"org_1"'
    assert event.body.startswith(start + b',"test":false,"data":{')
    assert json.loads(event.body)["data"] == json.loads(data)
    assert (event.id, event.type, event.organization_id, event.is_test) == ("evt_1", "message.sent", "org_1", False)


def test_a_test_event_says_so() -> None:
    event = _parsed(body_of(test=True))
    assert event.is_test
    assert b'"test":true' in event.body


@pytest.mark.parametrize("number", ["9007199254740993", "1.0", "1e400", "-0", "1E+2", "0.1000", "123456789" * 20])
def test_a_number_keeps_its_text(number: str) -> None:
    data = json.dumps(envelope()["data"])[:-1] + f', "n": {number}}}'
    fields = {name: value for name, value in envelope().items() if name != "data"}
    body = json.dumps(fields)[:-1] + f', "data": {data}, "extra": {number}}}'
    event = _parsed(body.encode())
    assert f'"n": {number}}}'.encode() in event.body
    assert event.body.endswith(f',"extra":{number}}}'.encode())


@pytest.mark.parametrize("raw", ["null", "[]", '{"a": [1, 2]}', '"é\\u00e9\\/"', "true", '{"id": 1, "id": 2}'])
def test_unknown_keys_pass_through_unchanged(raw: str) -> None:
    assert _parsed(_with(raw)).body.endswith(f',"extra":{raw}}}'.encode())


def test_an_unknown_key_keeps_its_name_even_if_it_must_be_escaped() -> None:
    event = _parsed(_with("1", 'a\\"b\\u0041é'))
    assert json.loads(event.body)['a"bAé'] == 1


def test_what_goes_out_can_come_in_again() -> None:
    once = _parsed(_with('{"a": 1.0}'))
    assert _parsed(once.body) == once


# --------------------------------------------------------------------------- ids


@pytest.mark.parametrize("event_id", ["e", "A-z_0", "x" * 64])
def test_good_ids(event_id: str) -> None:
    assert _parsed(body_of(id=event_id)).id == event_id
    assert _parsed(_without("id"), message_id=event_id).id == event_id


@pytest.mark.parametrize("event_id", ["a.b", "", "x" * 65, "é", "a b", "a\n", "evt:1", 7, True, ["a"], {"a": 1}])
def test_bad_ids(event_id: Any) -> None:
    _rejected(body_of(id=event_id), ParkReason.BAD_FIELD, "id")
    if isinstance(event_id, str):
        _rejected(_without("id"), ParkReason.BAD_FIELD, "id", message_id=event_id)


def test_the_body_names_the_event_before_the_broker_does() -> None:
    assert _parsed(body_of(), message_id="other").id == "evt_1"


def test_no_id_anywhere() -> None:
    _rejected(_without("id"), ParkReason.MISSING_ID, "id")
    _rejected(body_of(id=None), ParkReason.MISSING_ID, "id")


# --------------------------------------------------------------------------- the other fields


@pytest.mark.parametrize("name", ["type", "timestamp", "organization_id", "data"])
def test_missing_fields(name: str) -> None:
    _rejected(_without(name), ParkReason.MISSING_FIELD, name)


@pytest.mark.parametrize("kind", ["message", "", "Message.Sent", "a..b", "a.b.", "a.b\n", "a." + "b" * 63])
def test_what_can_be_no_type(kind: str) -> None:
    rejected = _rejected(body_of(type=kind, data={}), ParkReason.UNKNOWN_TYPE, "type")
    assert "message.sent" in rejected.detail


@pytest.mark.parametrize("value", [None, 1, ["org"], {}])
@pytest.mark.parametrize("name", ["type", "organization_id"])
def test_texts_must_be_texts(name: str, value: object) -> None:
    _rejected(body_of(**{"data": {}, name: value}), ParkReason.BAD_FIELD, name)


@pytest.mark.parametrize("organization_id", ["", "a b", "x" * 65, "é", "a/b", "a\n"])
def test_bad_organization_ids(organization_id: str) -> None:
    _rejected(body_of(organization_id=organization_id), ParkReason.BAD_FIELD, "organization_id")


@pytest.mark.parametrize("value", [None, 0, 1, "true", []])
def test_test_is_true_or_false(value: object) -> None:
    _rejected(body_of(test=value), ParkReason.BAD_FIELD, "test")


# --------------------------------------------------------------------------- timestamps


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-20T17:30:00Z", "2026-11-20T17:30:00.000000Z"),
        ("2026-11-20T17:30:00.5Z", "2026-11-20T17:30:00.500000Z"),
        ("2026-11-20T17:30:00.1234567Z", "2026-11-20T17:30:00.123456Z"),
        ("2026-11-20T19:30:00+02:00", "2026-11-20T17:30:00.000000Z"),
        ("2026-11-20T12:00:00-0530", "2026-11-20T17:30:00.000000Z"),
        ("2026-11-20 17:30:00+00:00", "2026-11-20T17:30:00.000000Z"),
        ("Fri, 20 Nov 2026 17:30:00 GMT", "2026-11-20T17:30:00.000000Z"),
        ("Fri, 20 Nov 2026 19:30:00 +0200", "2026-11-20T17:30:00.000000Z"),
        (1795195800, "2026-11-20T17:30:00.000000Z"),
        (1795195800.25, "2026-11-20T17:30:00.250000Z"),
        (1795195800250, "2026-11-20T17:30:00.250000Z"),
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.000000Z"),
        (99999999, "1973-03-03T09:46:39.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_every_form_of_a_timestamp_goes_out_in_one(value: object, expected: str) -> None:
    event = _parsed(body_of(timestamp=value))
    assert json.loads(event.body)["timestamp"] == expected
    assert format_timestamp(event.occurred_at) == expected


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-20T17:30:00",  # naive
        "2026-11-20",
        "Fri, 20 Nov 2026 17:30:00",
        "Fri, 20 Nov 2026 17:30:00 -0000",  # an unknown offset
        "yesterday",
        "",
        "1795195800",
        "0001-01-01T00:00:00+10:00",  # before the year 1, in UTC
        "9999-12-31T23:59:59-10:00",
        None,
        True,
        [],
        {},
        1e300,
        -1e300,
        10**300,
    ],
)
def test_what_is_no_timestamp(value: object) -> None:
    _rejected(body_of(timestamp=value), ParkReason.BAD_TIMESTAMP, "timestamp")


@pytest.mark.parametrize("name", ["timestamp", "id", "type", "test"])
@pytest.mark.parametrize(
    "number", [b"1" + b"0" * 5000, b"1e999999", b"0." + b"1" * 5000], ids=["long", "large", "fine"]
)
def test_no_number_is_too_large_to_be_refused(name: str, number: bytes) -> None:
    parsed = parse_event(body_of(**{name: "@", "data": {}}).replace(b'"@"', number), NOW)
    assert isinstance(parsed, Rejected)


@pytest.mark.parametrize(("seconds", "is_taken"), [(0, True), (300, True), (300.001, False), (10**6, False)])
def test_a_little_ahead_is_a_clock_further_is_a_mistake(seconds: float, is_taken: bool) -> None:  # noqa: FBT001
    body = body_of(timestamp=format_timestamp(NOW + timedelta(seconds=seconds)))
    if is_taken:
        _parsed(body)
    else:
        _rejected(body, ParkReason.TIMESTAMP_IN_FUTURE, "timestamp")


# --------------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{} {}",
        b"not json",
        b"{'a':1}",
        b'{"a":1,}',
        b"\xef\xbb\xbf{}",
        b'{"a":.5}',
        b'{"a":01}',
        b'{"a":"\x01"}',
    ]
    + [
        _with(raw)
        for raw in ("NaN", "Infinity", "-Infinity", "1.", "01", "+1", "tru", '"\\x"', '"\\ud800"', "[1,]", "0x1")
    ],
)
def test_what_is_no_json(body: bytes) -> None:
    _rejected(body, ParkReason.BAD_JSON)


@pytest.mark.parametrize("raw", ["NaN", "Infinity", "1.", "01", "+1", '"\\x"', "[1,]", '"\t"'])
def test_what_is_no_json_inside_data(raw: str) -> None:
    body = body_of()[:-2] + f', "x": {raw}}}}}'.encode()
    parsed = parse_event(body, NOW)
    assert isinstance(parsed, Rejected)
    assert parsed.reason in {ParkReason.BAD_JSON, ParkReason.BAD_DATA}


@pytest.mark.parametrize("body", [b"[]", b"1", b'"text"', b"null", b"true", b"[{}]"])
def test_json_that_is_no_object(body: bytes) -> None:
    _rejected(body, ParkReason.NOT_AN_OBJECT)


@pytest.mark.parametrize(
    "body", [b"\xff", b'{"a":"\xc3"}', b'{"a":"\xed\xa0\x80"}', body_of().decode().encode("utf-16")]
)
def test_what_is_no_utf_8(body: bytes) -> None:
    _rejected(body, ParkReason.INVALID_UTF8)


@pytest.mark.parametrize("name", ["id", "data", "extra", "timestamp"])
@pytest.mark.parametrize("is_escaped", [False, True])
def test_a_key_twice(name: str, is_escaped: bool) -> None:  # noqa: FBT001
    again = "".join(f"\\u{ord(letter):04x}" for letter in name) if is_escaped else name
    first = _with("1", name) if name == "extra" else body_of()
    body = first[:-1] + f',"{again}":{{"x":1}}}}'.encode()
    _rejected(body, ParkReason.DUPLICATE_KEY, name)


def test_the_same_bytes_elsewhere_do_not_hide_a_key_twice() -> None:
    data = json.dumps(envelope()["data"])
    body = f'{{"extra":{data},'.encode() + body_of()[1:-1] + f',"extra":{data}}}'.encode()
    _rejected(body, ParkReason.DUPLICATE_KEY, "extra")


@pytest.mark.parametrize("raw", ['"a\\u0000"', '["\\u0000"]', '{"\\u0000":1}', '{"a":[{"b":"\\\\\\u0000"}]}'])
def test_nul_characters(raw: str) -> None:
    _rejected(_with(raw), ParkReason.NUL_CHARACTER)


def _deepest(body: bytes) -> int:
    """Byte by byte."""
    depth = deepest = 0
    is_in_string = is_escaped = False
    for byte in body.decode("latin-1"):
        if is_in_string:
            is_in_string = is_escaped or byte != '"'
            is_escaped = byte == "\\" and not is_escaped
        elif byte == '"':
            is_in_string = True
        else:
            depth += (byte in "{[") - (byte in "}]")
            deepest = max(deepest, depth)
    return deepest


@given(st.text('"\\{}[][[[[{a\n', min_size=70, max_size=400))
def test_depth_counts_no_brackets_in_strings(text: str) -> None:
    rejected = parse_event(text.encode(), NOW)
    assert isinstance(rejected, Rejected)
    assert (rejected.reason is ParkReason.TOO_DEEP) == (_deepest(text.encode()) > DEPTH_MAX)


@given(
    st.recursive(st.text('\\\0u0"a', max_size=12), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_only_a_real_nul_is_one(value: Any) -> None:
    body = json.dumps({"a": value}).encode()
    rejected = parse_event(body, NOW)
    assert isinstance(rejected, Rejected)
    assert (rejected.reason is ParkReason.NUL_CHARACTER) == _has_nul(value)


def _has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(inner) for key, inner in value.items())
    return any(map(_has_nul, value)) if isinstance(value, list) else "\0" in value


def test_a_backslash_before_u0000_is_no_nul() -> None:
    _parsed(_with('"C:\\\\u0000"'))


@pytest.mark.parametrize(
    ("depth", "is_taken"), [(1, True), (DEPTH_MAX - 1, True), (DEPTH_MAX, False), (1000, False), (100_000, False)]
)
def test_depth(depth: int, is_taken: bool) -> None:  # noqa: FBT001
    body = _with("[" * depth + "]" * depth)
    if is_taken:
        _parsed(body)
    else:
        _rejected(body, ParkReason.TOO_DEEP)


def test_brackets_in_texts_are_no_depth() -> None:
    _parsed(_with(json.dumps('[{\\"' * 100)))
    _parsed(_with("[" + ",".join(["{}"] * 200) + "]"))


def test_size() -> None:
    spare = BODY_BYTES_MAX - len(_parsed(_with('""')).body)
    assert len(_parsed(_with('"' + "a" * spare + '"')).body) == BODY_BYTES_MAX
    _rejected(_with('"' + "a" * (spare + 1) + '"'), ParkReason.TOO_LARGE)
    _rejected(b" " * (BODY_BYTES_MAX + 1), ParkReason.TOO_LARGE)


# --------------------------------------------------------------------------- the five types


@pytest.mark.parametrize("kind", list(REGISTRY))
def test_each_type_has_a_valid_example(kind: str) -> None:
    assert _parsed(body_of(type=kind)).type == kind


REQUIRED = {
    "message.sent": ["message.id", "message.direction", "message.status", "message.to.urn", "message.sent_at"],
    "message.delivered": ["message.id", "message.status", "message.to.urn", "message.delivered_at"],
    "message.failed": ["message.id", "message.status", "message.failed_at", "error.code", "error.message"],
    "message.replied": [
        "message.id",
        "message.direction",
        "message.status",
        "message.from.urn",
        "message.received_at",
        "message.text",
    ],
    "link.clicked": ["message.id", "link.url", "click.id", "click.clicked_at"],
}


def _changed(kind: str, path: str, value: object, *, removed: bool = False) -> bytes:
    data: dict[str, Any] = deepcopy(dict(EXAMPLE_DATA[kind]))
    *way, last = path.split(".")
    inner = data
    for name in way:
        inner = inner[name]
    if removed:
        del inner[last]
    else:
        inner[last] = value
    return body_of(type=kind, data=data)


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, paths in REQUIRED.items() for path in paths])
def test_what_each_type_must_carry(kind: str, path: str) -> None:
    _rejected(_changed(kind, path, None), ParkReason.BAD_DATA, f"data.{path}")
    _rejected(_changed(kind, path, None, removed=True), ParkReason.BAD_DATA, f"data.{path}")


@pytest.mark.parametrize(
    ("kind", "path", "value", "is_taken"),
    [
        ("message.sent", "message.direction", "inbound", False),
        ("message.sent", "message.status", "delivered", False),
        ("message.delivered", "message.status", "read", True),
        ("message.delivered", "message.status", "sent", False),
        ("message.delivered", "message.status", "lost", False),
        ("message.failed", "error.code", 30003, True),
        ("message.failed", "error.code", 0, True),
        ("message.sent", "message.id", "", False),
        ("message.sent", "message.id", 7, False),
        ("message.sent", "message.protocol", "fax", False),
        ("message.sent", "message.to", None, False),
        ("message.sent", "message.unheard_of", {"deep": []}, True),
    ],
)
def test_values(kind: str, path: str, value: object, is_taken: bool) -> None:  # noqa: FBT001
    body = _changed(kind, path, value)
    if is_taken:
        _parsed(body)
    else:
        parsed = parse_event(body, NOW)
        assert isinstance(parsed, Rejected)
        assert parsed.reason is ParkReason.BAD_DATA
        assert parsed.field is not None
        assert parsed.field.startswith(f"data.{path}")


@pytest.mark.parametrize(
    ("content", "is_taken"),
    [
        ({"text": "hi"}, True),
        ({"text": None, "attachments": [{"url": "https://a.example/1"}]}, True),
        ({"text": "", "reactions": [{"type": "heart"}]}, True),
        ({"text": "", "reactions": [{"type": "heart", "at": "2026-11-20T18:25:35+01:00"}]}, True),
        ({"text": "", "reactions": [{"type": "heart", "at": "yesterday"}]}, False),
        ({"text": "", "reactions": [{"type": "heart", "at": "2026-11-20T18:25:35"}]}, False),
        ({"text": "", "attachments": [], "reactions": []}, False),
        ({"text": None, "reactions": [{"type": "shrug"}]}, False),
    ],
)
def test_a_reply_says_something(content: dict[str, Any], is_taken: bool) -> None:  # noqa: FBT001
    data = {"message": EXAMPLE_DATA["message.replied"]["message"] | content}
    parsed = parse_event(body_of(type="message.replied", data=data), NOW)
    assert isinstance(parsed, Event) == is_taken


@pytest.mark.parametrize("data", [None, [], "text", 1, {}])
def test_data_is_an_object_with_content(data: object) -> None:
    parsed = parse_event(body_of(data=data), NOW)
    assert isinstance(parsed, Rejected)
    assert parsed.reason is ParkReason.BAD_DATA


# --------------------------------------------------------------------------- CloudEvents


def _cloudevent(**changes: Any) -> bytes:
    fields = {
        "specversion": "1.0",
        "id": "evt_1",
        "source": "/platform",
        "type": "message.sent",
        "time": "2026-11-20T17:30:00Z",
        "organizationid": "org_1",
        "datacontenttype": "application/json",
        "data": EXAMPLE_DATA["message.sent"],
    }
    return json.dumps(fields | changes).encode()


@pytest.mark.parametrize("content_type", [CLOUDEVENTS, f"{CLOUDEVENTS}; charset=utf-8", "Application/CloudEvents+JSON"])
def test_a_cloudevent_becomes_the_same_envelope(content_type: str) -> None:
    event = _parsed(_cloudevent(), content_type=content_type)
    sent = json.loads(event.body)
    assert list(sent) == ["id", "type", "timestamp", "organization_id", "test", "data", "source"]
    assert (sent["organization_id"], sent["timestamp"]) == ("org_1", "2026-11-20T17:30:00.000000Z")


def test_a_cloudevent_needs_its_content_type() -> None:
    _rejected(_cloudevent(), ParkReason.MISSING_FIELD, "organization_id", content_type="application/json")


def test_a_cloudevent_with_binary_data() -> None:
    _rejected(_cloudevent(data_base64="e30="), ParkReason.BAD_FIELD, "data_base64", content_type=CLOUDEVENTS)


@pytest.mark.parametrize("name", ["timestamp", "organization_id"])
def test_a_cloudevent_that_says_one_thing_under_two_names(name: str) -> None:
    body = _cloudevent(**{name: "org_2"})
    _rejected(body, ParkReason.DUPLICATE_KEY, name, content_type=CLOUDEVENTS)


# --------------------------------------------------------------------------- whatever comes

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(
    ["id", "type", "timestamp", "organization_id", "test", "data", "specversion", "time"]
) | st.text(max_size=5)


def _strict(_: str) -> None:
    raise AssertionError("NaN and Infinity are no JSON")


def _check(body: bytes, content_type: str | None) -> None:
    parsed = parse_event(body, NOW, content_type=content_type)
    if isinstance(parsed, Event):
        sent, came = json.loads(parsed.body, parse_constant=_strict), json.loads(body)
        assert sent["data"] == came["data"]
        assert len(parsed.body) <= BODY_BYTES_MAX
        assert _parsed(parsed.body) == parsed


@given(st.binary(max_size=60), st.none() | st.just(CLOUDEVENTS))
def test_no_bytes_raise(body: bytes, content_type: str | None) -> None:
    _check(body, content_type)


@given(st.dictionaries(names, values, max_size=4), st.sampled_from(list(REGISTRY)), st.none() | st.just(CLOUDEVENTS))
def test_whatever_fields_come_what_goes_out_is_valid(
    changes: dict[str, Any], kind: str, content_type: str | None
) -> None:
    _check(json.dumps(envelope(type=kind) | changes).encode(), content_type)


pieces = st.sampled_from(
    [
        "NaN",
        "1.",
        "01",
        "-",
        "1e",
        '"',
        "\\",
        "\\u0000",
        "\\ud800",
        "\\x",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "\x01",
        " ",
        '"id"',
        "\\u",
    ]
)


@given(st.data(), st.sampled_from(list(REGISTRY)))
def test_a_valid_event_with_something_put_into_it(data: st.DataObject, kind: str) -> None:
    body = json.dumps(envelope(type=kind, extra=[1, "a"])).encode()
    for piece in data.draw(st.lists(pieces, min_size=1, max_size=3)):
        at = data.draw(st.integers(0, len(body)))
        body = body[:at] + piece.encode() + body[at + data.draw(st.integers(0, 2)) :]
    _check(body, None)


@given(st.text(max_size=40) | st.integers() | st.floats() | st.none() | st.binary(max_size=4) | st.booleans())
def test_no_timestamp_raises_and_all_are_aware(value: object) -> None:
    at = parse_timestamp(value)
    assert at is None or at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("name", ["organization_id", "organizationid"])
def test_the_callers_organization_is_used_where_the_envelope_names_none(name: str) -> None:
    whole = envelope()
    del whole["organization_id"]
    assert _parsed(json.dumps(whole).encode(), organization_id="org_mine").organization_id == "org_mine"
    _rejected(body_of(organization_id="org_own"), ParkReason.BAD_FIELD, "organization_id", organization_id="org_mine")
    named = json.dumps({**whole, name: 7}).encode()
    reason = ParkReason.BAD_FIELD if name == "organization_id" else ParkReason.MISSING_FIELD
    _rejected(named, reason, "organization_id", organization_id="org_mine")


@pytest.mark.parametrize("event_type", ["message.sent", "order.placed"])
def test_its_scope_is_read_and_refuses_nothing(event_type: str) -> None:
    data = dict(EXAMPLE_DATA["message.sent"])
    scope = {"brand_id": "b_1", "campaign_id": 7, "project_id": "p" * 257, "other": {"deep": [1e3]}}
    found = _parsed(body_of(type=event_type, data={**data, "scope": scope}))
    assert (found.brand_id, found.campaign_id, found.project_id) == ("b_1", None, None)
    scopes: list[object] = [None, "b_1", [], {}, {"brand_id": ""}, {"brand_id": None}]
    for no_scope in scopes:
        found = _parsed(body_of(type=event_type, data={**data, "scope": no_scope}))
        assert (found.brand_id, found.campaign_id, found.project_id) == (None, None, None)
