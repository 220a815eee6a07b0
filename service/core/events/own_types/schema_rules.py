"""What a tenant's JSON Schema may contain: no external references, and only patterns that RE2 can search for."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from service.core.events.own_types.schema_pattern import pattern_problem, pattern_size
from service.core.events.registry import Complaint
from service.core.field_code import FieldCode

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
DEPTH_MAX: Final = 32
SUBSCHEMAS_MAX: Final = 2_000
"""Objects, true and false, at any depth. The library takes 0.2 ms for each when a schema is registered."""

_REFUSED_KEYWORDS: Final = {"$anchor", "$dynamicAnchor", "$dynamicRef", "patternProperties"}
_OF_THE_WHOLE: Final = {"$id", "$schema"}

PATTERNS_SIZE_MAX: Final = 20_000
"""Of all patterns of a schema together; whoever judges its first event makes their programs, in some 10 ms."""


def schema_complaint(schema: Mapping[str, Any]) -> Complaint | None:
    """The first thing in a schema that is not allowed. Values under ``enum`` and ``const`` are checked as strictly."""
    if schema.get("$schema", DIALECT) != DIALECT:
        return Complaint("schema.$schema", f"must be {DIALECT} or left out", FieldCode.UNKNOWN_VALUE)
    patterns_size = subschemas_count = 0
    for path, depth, key, value in _walk(schema):
        problem = _problem(schema, depth, key, value)
        subschemas_count += isinstance(value, (dict, bool))
        if subschemas_count > SUBSCHEMAS_MAX:
            return Complaint(
                "schema", f"has more than {SUBSCHEMAS_MAX} objects and booleans in it", FieldCode.OUT_OF_RANGE
            )
        if problem is None and key == "pattern" and isinstance(value, str):
            patterns_size += pattern_size(value)
            if patterns_size > PATTERNS_SIZE_MAX:
                problem = f"unrolls, with all patterns before it, to more than {PATTERNS_SIZE_MAX} instructions"
        if problem is not None:
            return Complaint(path, problem)
    return None


def _problem(schema: object, depth: int, key: str, value: object) -> str | None:
    text = value if isinstance(value, str) else None  # a property may be called "pattern"; its value is not a string
    problem = None
    if depth > DEPTH_MAX:
        problem = f"is nested deeper than {DEPTH_MAX}"
    elif "\0" in key or (text and "\0" in text):
        problem = "contains the character U+0000"
    elif key in _REFUSED_KEYWORDS:
        problem = f"{key} is not supported"
    elif text is not None:
        if key in _OF_THE_WHOLE and depth > 1:
            problem = f"{key} is allowed only at the top level"
        elif key == "$ref":
            problem = _reference_problem(schema, text)
        elif key == "pattern":
            problem = pattern_problem(text)
    return problem


def _walk(schema: object) -> Iterator[tuple[str, int, str, object]]:
    """Every key and item of a schema: path, depth, key ("" for an item), value."""
    waiting: list[tuple[str, int, object]] = [("schema", 1, schema)]
    while waiting:
        where, depth, value = waiting.pop()
        inner: list[tuple[str, str, object]] = []
        if isinstance(value, dict):
            inner = [(f"{where}.{key}", key, each) for key, each in value.items()]
        elif isinstance(value, list):
            inner = [(f"{where}[{index}]", "", each) for index, each in enumerate(value)]
        for path, key, each in inner:
            yield path, depth, key, each
        waiting += [(path, depth + 1, each) for path, _, each in inner if isinstance(each, (dict, list))]


def _reference_problem(schema: object, reference: str) -> str | None:
    if reference != "#" and not reference.startswith("#/"):
        return "only references within the schema are supported: '#' or '#/$defs/…'"
    found = schema
    for part in unquote(reference).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return "refers to something that does not exist in the schema"
    return None if isinstance(found, (dict, bool)) else "refers to something that is not a schema"
