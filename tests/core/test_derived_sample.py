"""A sample made from a schema is one that the schema allows, or none; and no schema makes that take long."""

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.events.own_types.derived_sample import derived_sample
from service.core.events.own_types.new_type import SAMPLE_BYTES_MAX, WrittenType, write_type
from service.core.events.own_types.own_type import SCHEMA_BYTES_MAX, OwnEventType
from service.core.events.registry import Complaint
from tests.core.test_own_event_type import HOSTILE


def _derived(schema: dict[str, Any]) -> Any:
    return derived_sample(schema, json.dumps(schema))


def _of(schema: Any) -> Any:
    made = _derived({"required": ["v"], "properties": {"v": schema}})
    return made and made["v"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (True, "sample"),
        ({}, "sample"),
        ({"const": {"a": None}}, {"a": None}),
        ({"enum": ["b", "c"]}, "b"),
        ({"type": "string", "default": "d"}, "d"),
        ({"examples": [[7]]}, [7]),
        ({"type": ["null", "integer"]}, 1),
        ({"type": "null"}, None),
        ({"type": "boolean"}, True),
        ({"type": "string", "minLength": 9, "maxLength": 9}, "samplexxx"),
        ({"type": "string", "maxLength": 2}, "sa"),
        ({"type": "string", "format": "email"}, "ben@example.org"),
        ({"type": "integer", "minimum": 10, "multipleOf": 4}, 12),
        ({"type": "integer", "exclusiveMinimum": 10}, 11),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"type": "array", "items": False}, []),
        ({"prefixItems": [{"const": 1}, {"const": 2}], "items": False}, [1, 2]),
        ({"type": "object", "required": ["x"], "additionalProperties": {"type": "integer"}}, {"x": 1}),
        ({"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"required": ["b"]}]}, {"a": 1, "b": "sample"}),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, 1),
        ({"type": "string", "pattern": "^sam"}, "sample"),
    ],
)  # fmt: skip
def test_what_a_schema_asks_for(schema: Any, value: object) -> None:
    assert _of(schema) == value
    assert type(_of(schema)) is type(value)


def test_references_and_optional_properties() -> None:
    schema = {
        "$defs": {"line/s": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}}},
        "required": ["lines"],
        "properties": {"lines": {"type": "array", "items": {"$ref": "#/$defs/line~1s"}}, "note": {"type": "string"}},
    }
    assert _derived(schema) == {"lines": [{"sku": "sample"}], "note": "sample"}


def test_what_is_optional_is_left_out_where_it_cannot_be_made() -> None:
    schema = {"required": ["a"], "properties": {"a": True, "b": {"type": "string", "pattern": "^[0-9]+$"}}}
    assert _derived(schema) == {"a": "sample"}


def test_a_schema_that_refers_to_itself_has_an_end() -> None:
    tree = {"required": ["name"], "properties": {"name": {"type": "string"}, "child": {"$ref": "#"}}}
    made = _derived(tree)
    assert made["child"]["child"]["name"] == "sample"
    assert _derived({"required": ["a"], "properties": {"a": {"$ref": "#"}}}) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"required": ["a"], "properties": {"a": False}},
        {"required": ["a"], "properties": {"a": {"pattern": "^[0-9]{3}$", "type": "string"}}},
        {"required": ["a"], "properties": {"a": {"not": {}}}},
        {"minProperties": 3},
    ],
)
def test_where_nothing_is_found_there_is_no_sample(schema: dict[str, Any]) -> None:
    assert _derived(schema) is None
    assert write_type("a.b", schema, None) == WrittenType(json.dumps(schema, separators=(",", ":")), None)


BIG = {"const": "x" * 20_000}
WIDE: dict[str, dict[str, Any]] = {
    **{name: schema for name, (schema, _) in HOSTILE.items() if isinstance(schema, dict)},
    "a large value in many places": {
        "$defs": {"b": BIG}, "properties": {f"p{n}": {"$ref": "#/$defs/b"} for n in range(400)}
    },
    "the same properties in many places": {
        "$defs": {"b": {"properties": {f"p{n}": True for n in range(1_000)}}},
        "allOf": [{"$ref": "#/$defs/b"}] * 500,
    },
    "doubling": {
        "$defs": {
            f"d{n}": {"properties": {key: {"$ref": f"#/$defs/d{n + 1}"} for key in "ab"}, "required": ["a", "b"]}
            for n in range(60)
        } | {"d60": {}},
        "$ref": "#/$defs/d0",
    },
    "long": {"required": ["a"], "properties": {"a": {"type": "string", "minLength": 10**9}}},
    "many": {"required": ["a"], "properties": {"a": {"type": "array", "minItems": 10**9}}},
    "circle": {"$ref": "#", "allOf": [{"$ref": "#"}, {"$ref": "#"}]},
}  # fmt: skip


@pytest.mark.parametrize("name", WIDE)
def test_no_schema_makes_it_take_long(name: str) -> None:
    schema = WIDE[name]
    text = json.dumps(schema)
    started = time.process_time()
    made = derived_sample(schema, text)
    assert time.process_time() - started < 1.0  # ten times what it may take
    assert made is None or len(json.dumps(made)) < 1_000_000


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYWORDS = st.sampled_from(
    [
        "type",
        "properties",
        "required",
        "items",
        "enum",
        "const",
        "minimum",
        "minItems",
        "allOf",
        "anyOf",
        "$ref",
        "format",
    ]
)


@given(st.dictionaries(KEYWORDS, JSON_VALUES, max_size=4))
def test_whatever_a_schema_is_it_raises_nothing(schema: dict[str, Any]) -> None:
    written = write_type("a.b", schema, None)
    if isinstance(written, WrittenType) and written.sample is not None:
        body = b'{"data":%b}' % written.sample.encode()
        assert OwnEventType("a.b", written.schema).judge(body) == ()


@pytest.mark.parametrize("data", [{"a": math.inf}, {"a": json.loads("[" * 64 + "]" * 64)}, {"a": "\0"}, {"\0": 1}])
def test_a_sample_that_no_event_can_have_is_refused(data: dict[str, Any]) -> None:
    (complaint,) = write_type("a.b", {}, data)  # type: ignore[misc]
    assert complaint.field == "sample"


def test_a_sample_that_is_given_must_satisfy_the_schema() -> None:
    schema = {"required": ["a"], "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
    written = write_type("a.b", schema, {"a": 1})
    assert isinstance(written, WrittenType)
    assert written.sample == '{"a":1}'
    wrong = write_type("a.b", schema, {"b": 1})
    assert {each.field for each in wrong if isinstance(each, Complaint)} == {"sample.a", "sample.b"}  # type: ignore[union-attr]
    (large,) = write_type("a.b", {}, {"a": "x" * SAMPLE_BYTES_MAX})  # type: ignore[misc]
    assert large.field == "sample"
    (broken,) = write_type("a.b", {"a": "x" * SCHEMA_BYTES_MAX}, {"a": 1})  # type: ignore[misc]
    assert broken.field == "schema"
