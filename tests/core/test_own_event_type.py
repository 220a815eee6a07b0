"""An organization's own types: what their schemas may say, what they find, and that none of them can stop a worker."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from service.core.events.event import parse_event
from service.core.events.own_types.bounded_validator import TooMuchWorkError, complaints_of
from service.core.events.own_types.own_type import SCHEMA_BYTES_MAX, OwnEventType, is_same_json, write_schema
from service.core.events.own_types.schema_rules import DEPTH_MAX
from service.core.events.registry import Complaint, is_subscribable
from service.core.field_code import FieldCode
from tests.fakes.clock import START
from tests.fakes.events import body_of, event_of

ORDER = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://shop.example/order.json",
    "type": "object",
    "required": ["order"],
    "properties": {
        "order": {
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": {"type": "string", "pattern": "^ord_[a-z0-9]{4,32}$"},
                "items": {"type": "array", "items": {"$ref": "#/$defs/item"}, "uniqueItems": True},
                "$ref": {"type": "string"},
                "pattern": {"enum": ["(a", 1]},
            },
        },
        "secret": False,
    },
    "$defs": {"item": {"type": "object", "properties": {"sku": {"type": "string"}, "count": {"minimum": 1}}}},
}


def _judge(data: object, schema: Any = ORDER) -> Complaint | None:
    text = write_schema(schema)
    assert isinstance(text, str), text
    return next(iter(OwnEventType("order.placed", text).judge(json.dumps({"data": data}).encode())), None)


def _refused(schema: dict[str, Any]) -> Complaint:
    refused = write_schema(schema)
    assert isinstance(refused, Complaint)
    return refused


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"order": {"id": "ord_1234", "items": [{"sku": "a", "count": 1}], "unheard_of": 1}}, None),
        ({}, "data.order"),
        ({"order": 1}, "data.order"),
        ({"order": {}}, "data.order.id"),
        ({"order": {"id": 7}}, "data.order.id"),
        ({"order": {"id": "ord_"}}, "data.order.id"),
        ({"order": {"id": "ord_1234", "items": [{"sku": "a"}, {"sku": 1}]}}, "data.order.items[1].sku"),
        ({"order": {"id": "ord_1234", "items": [{"sku": "a"}, {"sku": "a"}]}}, "data.order.items"),
        ({"order": {"id": "ord_1234", "items": [{"count": 0}]}}, "data.order.items[0].count"),
        ({"order": {"id": "ord_1234"}, "secret": 1}, "data"),
        ([], "data"),
        (None, "data"),
    ],
)
def test_a_complaint_names_the_field(data: object, field: str | None) -> None:
    complaint = _judge(data)
    assert (complaint.field if complaint else None) == field


def test_a_complaint_tells_the_rule_and_never_the_value() -> None:
    complaint = _judge({"phone": "+12065551212"}, {"properties": {"phone": {"maxLength": 3}}})
    assert complaint == Complaint("data.phone", "does not satisfy maxLength: 3", FieldCode.OUT_OF_RANGE)


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({"$ref": "https://evil.example/schema"}, "schema.$ref"),
        ({"properties": {"a": {"$ref": "other.json#/x"}}}, "schema.properties.a.$ref"),
        ({"allOf": [{"$ref": "#anchor"}]}, "schema.allOf[0].$ref"),
        ({"$ref": "#/$defs/missing"}, "schema.$ref"),
        ({"$ref": "#/$defs", "$defs": {}}, None),
        ({"$ref": "#/required", "required": []}, "schema.$ref"),
        ({"$dynamicRef": "#"}, "schema.$dynamicRef"),
        ({"properties": {"a": {"$id": "x"}}}, "schema.properties.a.$id"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "schema.$schema"),
        ({"patternProperties": {"^a": {}}}, "schema.patternProperties"),
        ({"type": "text"}, "schema.type"),
        ({"properties": {"a": {"minimum": "1"}}}, "schema.properties.a.minimum"),
        ({"properties": {"a": 7}}, "schema.properties.a"),
        ({"title": "a\0b"}, "schema.title"),
        ({"properties": {"a\0b": {}}}, "schema.properties.a\0b"),
        ({"$ref": "#"}, "schema"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}}, "schema"),
        ({"title": "x" * SCHEMA_BYTES_MAX}, "schema"),
        ({"default": float("inf")}, "schema"),
        ({"allOf": [{}] * 10_000}, "schema"),
        ({"allOf": [True] * 2_001}, "schema"),
        ({"allOf": [{}] * 2_000}, None),
    ],
)
def test_what_a_schema_may_not_say(schema: dict[str, Any], field: str | None) -> None:
    if field is None:
        assert isinstance(write_schema(schema), str)
    else:
        assert _refused(schema).field == field


def test_a_schema_is_not_deep() -> None:
    schema: dict[str, Any] = {}
    for _ in range(DEPTH_MAX - 1):
        schema = {"not": schema}
    assert isinstance(write_schema(schema), str)
    assert "deeper" in _refused({"not": {"not": schema}}).detail
    for _ in range(5000):
        schema = {"not": schema}
    assert _refused(schema).field == "schema"


@pytest.mark.parametrize(
    ("pattern", "found", "not_found"),
    [
        ("^ord_[a-z0-9]+$", "ord_1", "ord_"),
        (r"^\d{4}-\d{2}-\d{2}$", "2026-11-21", "2026-11-2"),
        ("^[^@]+@[^@]+$", "a@b", "a"),
        ("a*b", "aab", "aa"),
        ("", "", None),
        (r"^\+[1-9][0-9]{1,14}$", "+12", "+02"),
        ("[]a]", "]", "b"),
        ("^(sms|tel|whatsapp):", "tel:+1", "telex:"),
        ("(a+)+$", "aa", "ab"),
        ("^(?:a|b)+?c{2,}$", "abcc", "abc"),
        (r"^\p{L}+$", "Žižek", "Ž1"),
        (r"^\u00e9\\u$", "é\\u", "e\\u"),
        # As ECMAScript has it, and Python has not:
        (r"^\d$", "1", "٣"),
        ("a$", "a", "a\n"),
        (r"a\Z", "a", "a\n"),
        (".", "a", "\ud800"),
        # RE2 counts to 1,000, and texts end at 256:
        ("^a{1,2000}$", "a" * 256, ""),
        ("^a{2000}$", None, "a" * 256),
        ("^(a?){2000,3000}$", "a" * 256, "b"),
        (r"^[\u0041{2000}]+$", "A{20}", "1"),
    ],
)
def test_what_a_pattern_finds(pattern: str, found: str | None, not_found: str | None) -> None:
    schema = {"properties": {"a": {"pattern": pattern}}}
    if found is not None:
        assert _judge({"a": found}, schema) is None
    if not_found is not None:
        assert _judge({"a": not_found}, schema) is not None


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("(?=a)", "invalid perl operator: (?="),
        ("(?<!a)b", "invalid perl operator: (?<"),
        ("^a++", "bad repetition operator: ++"),
        ("a{1,2}{3}", "bad repetition operator"),
        ("(a{100}){100}", "invalid repetition size"),
        ("[", "missing ]"),
        ("*a", "no argument for repetition operator"),
        (r"a\\"[:-1], "trailing \\"),
        ("x" * 257, "at most 256 characters"),
        ("\ud800", "half a character"),
        ("[^a]{200}" * 2, "unrolls to"),
        (r"(\p{L}{1,30}){1,30}", "too large"),
    ],
)
def test_a_pattern_that_is_not_taken_is_told_why(pattern: str, why: str) -> None:
    refused = _refused({"properties": {"a": {"pattern": pattern}}})
    assert refused.field == "schema.properties.a.pattern"
    assert why in refused.detail


def test_all_patterns_together_are_not_large() -> None:
    patterns = {f"p{number}": {"pattern": f"[a-z]{{{number}}}"} for number in range(150, 257)}
    assert isinstance(write_schema({"properties": dict([*patterns.items()][:90])}), str)
    assert "20000 instructions" in _refused({"properties": patterns}).detail


def test_a_pattern_is_held_against_short_texts_only() -> None:
    schema = {"properties": {"a": {"pattern": "^a*$"}}}
    assert _judge({"a": "a" * 256}, schema) is None
    assert _judge({"a": "a" * 257}, schema) is not None
    assert _judge({"a": 1}, schema) is None


TWICE = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(40)}
DEPENDENT = {
    f"d{n}": {"dependentSchemas": {"x": {"$ref": f"#/$defs/d{n + 1}"}, "y": {"$ref": f"#/$defs/d{n + 1}"}}}
    for n in range(40)
}
MANY = "".join(map(chr, range(0x1F000, 0x1F0E6)))


def _against(pattern: str, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A schema that has the pattern searched for in every one of many texts, and does not end at the first."""
    return {"properties": {"a": {"items": {"not": {"pattern": pattern}}}}}, {"a": [text] * (240_000 // len(text))}


HOSTILE = {
    "doubling": (
        {"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**TWICE, "d40": {"type": "integer"}}},
        {"a": 1},
    ),
    "circle": ({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"$ref": "#/$defs/x"}}}, {"a": 1}),
    "many patterns": (
        {"items": {}, "properties": {"a": {"items": {"pattern": "^a*a*a*$"}}}},
        {"a": ["a" * 255 + "b"] * 500},
    ),
    "a pattern with a long end": _against("a*a*" + "a" * 100 + "b", "a" * 250),
    "a pattern with a count": _against("a*a*[^b]{60}b", "a" * 250),
    "a pattern with a class of many": _against(f"[^{MANY}]*b", "a" * 250),
    "a pattern with that class twice": _against(f"[^{MANY[:110]}]*[^{MANY[110:]}]*b", "a" * 250),
    "a pattern that is just cheap enough": _against(f"[^{MANY[:30]}]*b", "a" * 20),
    "a pattern with loops in a loop": _against("(a+)+$", "a" * 255 + "b"),
    "a pattern with many ways": _against("((a{0,100}){0,10})b", "a" * 256),
    "a pattern that is as large as can be": _against("[^b]{320}b", "\U0001f000" * 256),
    "unevaluated circle": (
        {
            "properties": {"a": {"$ref": "#/$defs/x", "unevaluatedProperties": False}},
            "$defs": {"x": {"$ref": "#/$defs/x"}},
        },
        {"a": {}},
    ),
    "a value quoted for every alternative": (
        {"properties": {"a": {"anyOf": [{"type": "string"}] * 1600}}},
        {"a": [[1] * 100_000]},
    ),
    "many names missing": (
        {"properties": {"a": {"items": {"anyOf": [{"dependentRequired": {"x": [f"{n:x}" for n in range(3000)]}}]}}}},
        {"a": [{"x": 1}] * 500},
    ),
    "many items not evaluated": (
        {"properties": {"a": {"contains": {}, "unevaluatedItems": True}}},
        {"a": [1] * 19_000},
    ),
    "many names not evaluated": (
        {"properties": {"a": {"additionalProperties": {}, "unevaluatedProperties": False}}},
        {"a": {f"{n:x}": 1 for n in range(19_000)}},
    ),
    "doubling that nobody evaluates": (
        {"properties": {"a": {"unevaluatedProperties": False, **DEPENDENT["d0"]}}, "$defs": {**DEPENDENT, "d40": {}}},
        {"a": {"x": 1, "y": 1}},
    ),
    "many objects": ({"properties": {"a": {"uniqueItems": True}}}, {"a": [{"x": n} for n in range(30_000)]}),
    "large numbers": ({"properties": {"a": {"uniqueItems": True}}}, {"a": [10**990 + n for n in range(250)] + [1e308]}),
    "a deep constant": (
        {
            "properties": {"a": {"items": {"allOf": [{"not": {"$ref": "#/$defs/x"}}] * 500}}},
            "$defs": {"x": {"const": [[*range(3000)]]}},
        },
        {"a": [[[*range(2999), -1]]] * 15},
    ),
    "a long enum": ({"properties": {"a": {"items": {"enum": list(range(3000))}}}}, {"a": [2999] * 20_000}),
    "idle loops": ({"allOf": [{"properties": {"a": {"items": {}}}}] * 500}, {"a": [0] * 50_000}),
    "deep": (
        {
            "properties": {"a": {"$ref": "#/$defs/x"}},
            "$defs": {"x": {"allOf": [{"anyOf": [{"oneOf": [{"items": {"$ref": "#/$defs/x"}}]}]}]}},
        },
        {"a": json.loads("[" * 60 + "]" * 60)},
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_schema_holds_a_worker_up(name: str) -> None:
    schema, data = HOSTILE[name]
    started = time.process_time()
    complaint = _judge(data, schema)
    assert complaint is None or complaint.field.startswith("data")
    assert time.process_time() - started < 2.5


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_schema_lets_the_event_loop_wait_for_is_told_soon(name: str) -> None:
    schema, data = HOSTILE[name]
    own, body = OwnEventType("order.placed", json.dumps(schema)), json.dumps({"data": data}).encode()
    started = time.process_time()
    with suppress(TooMuchWorkError):
        found = own.judge_at_once(body)
        assert own.judge(body)[: len(found)] == found
        return
    assert time.process_time() - started < 0.4


@pytest.mark.parametrize(
    ("pattern", "text", "texts_min"),
    [
        (r"^[^@]+@[^@]+\.[^@]+$", "someone.with.a.name@mail.shop.example", 100),
        (r"^[^@]+@[^@]+\.[^@]+$", f"{'a' * 250}@b.de", 1),
        (r"^\+[1-9][0-9]{1,14}$", "+12065551212", 1000),
        ("^ord_[a-z0-9]{4,32}$", "ord_" + "a1" * 16, 1000),
        (
            "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
            "0193ab6e-7c5d-7a10-b3f2-4c9d8e7f6a5b",
            1000,
        ),
        ("https://", "https://shop.example/orders/1234567890", 1000),
    ],
)
def test_the_budget_has_room_for_what_people_check(pattern: str, text: str, texts_min: int) -> None:
    schema = {"properties": {"a": {"items": {"pattern": pattern}}}}
    assert _judge({"a": [text] * texts_min}, schema) is None


def test_numbers_that_hash_alike_are_held_apart_in_linear_time() -> None:
    alike = [number * (2**61 - 1) for number in range(13_000)]
    assert {*map(hash, alike)} == {0}
    started = time.process_time()
    assert _judge({"a": alike}, {"properties": {"a": {"uniqueItems": True}}}) is None
    assert time.process_time() - started < 0.25


def _deeper(calls: int, judge: Callable[[], Sequence[Complaint]]) -> Sequence[Complaint]:
    return judge() if calls == 0 else _deeper(calls - 1, judge)


@pytest.mark.parametrize("around", ["not", "allOf", "items"])
def test_a_circle_is_a_complaint_wherever_the_stack_ends(around: str) -> None:
    circle = {"$ref": "#"}
    own = OwnEventType("a.b", json.dumps({around: [circle] if around == "allOf" else circle, "not": circle}))
    for calls in range(60):
        (complaint,) = _deeper(calls, lambda: own.judge(b'{"data":{"a":{}}}'))
        assert "too deeply nested" in complaint.detail


def test_what_the_library_raises_is_a_complaint() -> None:
    broken = OwnEventType("a.b", json.dumps({"type": "no such type"}))
    (complaint,) = broken.judge(b'{"data":{}}')
    assert "UnknownType" in complaint.detail


@pytest.mark.parametrize("number", ["1e400", "1" * 5000, "-" + "9" * 400, "1e-999", "9007199254740993"])
def test_no_number_is_too_large(number: str) -> None:
    text = write_schema({"properties": {"n": {"type": "number", "multipleOf": 0.5, "maximum": 3}}})
    assert isinstance(text, str)
    OwnEventType("a.b", text).judge(b'{"data":{"n":%b}}' % number.encode())


def test_half_of_a_surrogate_pair_can_be_told_of() -> None:
    own = OwnEventType("a.b", '{"additionalProperties":{"type":"string"}}')
    (complaint,) = own.judge(b'{"data":{"\\ud800":1}}')
    (complaint.field + complaint.detail).encode()


def test_schemas_are_the_same_whatever_the_order_of_keys() -> None:
    assert is_same_json('{"a":1,"b":[1,2]}', '{"b":[1,2],"a":1}')
    assert not is_same_json('{"a":1}', '{"a":true}')


@pytest.mark.parametrize(
    ("pattern", "is_possible"),
    [
        ("message.sent", True),
        ("order.placed", True),
        ("*", True),
        ("message.*", True),
        ("order.*", True),
        ("link.*", True),
        ("order.line.*", True),
        ("message", False),
        ("message.unknown", False),
        ("mess*", False),
        ("*.sent", False),
        ("", False),
        ("orders.*", False),
        ("message.*.*", False),
        ("**", False),
        (".*", False),
        ("order.lin.*", False),
        ("message.sent.*", False),
    ],
)
def test_what_can_be_subscribed_to(pattern: str, is_possible: bool) -> None:  # noqa: FBT001
    assert is_subscribable(pattern, {"order.placed", "order.line.added"}) == is_possible


@pytest.mark.parametrize(
    ("data", "message_id"),
    [
        ({"message": {"id": "msg_1"}}, "msg_1"),
        ({"message": {"id": "m" * 256}}, "m" * 256),
        ({"message": {"id": "m" * 257}}, None),
        ({"message": {"id": 1}}, None),
        ({"message": {"id": ""}}, None),
        ({"message": "x"}, None),
        ({"message": None}, None),
        ({}, None),
    ],
)
def test_an_own_types_message_is_found_where_there_is_one(data: dict[str, Any], message_id: str | None) -> None:
    event = event_of(type="order.placed", data=data)
    assert (event.type, event.message_id) == ("order.placed", message_id)


def test_a_built_in_types_message_is_found() -> None:
    assert event_of().message_id == "msg_1"
    too_long = json.loads(body_of())
    too_long["data"]["message"]["id"] = "m" * 257
    parsed = parse_event(json.dumps(too_long).encode(), START)
    assert getattr(parsed, "message_id", "") is None


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, -0.0, 1.5]) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=1), inner, max_size=2),
    max_leaves=6,
)


@given(st.lists(values, max_size=5))
def test_items_are_unique_where_the_library_says_so(items: list[Any]) -> None:
    schema = {"properties": {"a": {"uniqueItems": True}}}
    expected = Draft202012Validator(schema).is_valid({"a": items})
    assert (not complaints_of(json.dumps(schema), {"a": items})) == expected


keywords = st.dictionaries(
    st.sampled_from(
        [
            "type",
            "properties",
            "items",
            "enum",
            "$ref",
            "required",
            "pattern",
            "allOf",
            "not",
            "minimum",
            "uniqueItems",
            "$defs",
        ]
    ),
    st.recursive(
        st.sampled_from(["string", "object", "#", "#/properties", "#/$defs/a", "a", "", "^a+$"])
        | st.integers(-2, 2)
        | st.booleans(),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["a", "type", "items", "$ref", "not"]), inner, max_size=2)
        ),
        max_leaves=5,
    ),
    max_size=3,
)


@given(keywords, values)
def test_no_schema_raises(schema: dict[str, Any], value: object) -> None:
    text = write_schema(schema)
    if isinstance(text, str):
        OwnEventType("a.b", text).judge(json.dumps({"data": {"a": value}}).encode())


looked_at = st.recursive(
    st.booleans(),
    lambda inner: (
        st.dictionaries(
            st.sampled_from(
                ["if", "then", "else", "not", "contains", "items", "additionalProperties"]
                + ["unevaluatedItems", "unevaluatedProperties"] * 3
            ),
            inner,
            max_size=3,
        )
        | st.fixed_dictionaries({"unevaluatedItems": inner, "anyOf": st.lists(inner, min_size=1, max_size=2)})
        | st.fixed_dictionaries({"unevaluatedProperties": inner, "properties": st.fixed_dictionaries({"a": inner})})
        | st.fixed_dictionaries(
            {"unevaluatedProperties": inner, "dependentSchemas": st.fixed_dictionaries({"a": inner})}
        )
    ),
    max_leaves=5,
)


@given(looked_at, values)
def test_what_is_unevaluated_is_what_the_library_says(schema: Any, value: Any) -> None:
    schema = {"properties": {"v": schema}}
    expected = Draft202012Validator(schema).is_valid({"v": value})
    assert (not complaints_of(json.dumps(schema), {"v": value})) == expected
