"""What a tenant's JSON Schema may say: no reference leads outside, and no pattern can backtrack for long."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from service.core.events.registry import Complaint

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
DEPTH_MAX: Final = 32
PATTERN_LENGTH_MAX: Final = 256

_REFUSED_KEYWORDS: Final = {"$anchor", "$dynamicAnchor", "$dynamicRef", "patternProperties"}
_OF_THE_WHOLE: Final = {"$id", "$schema"}

# A pattern is one character, class or escape after the other, each repeated or not. Without groups and alternatives,
# one of k loose quantifiers takes at most n^k steps on n characters; both are small here.
_ATOM = r"(?:\\[^0-9]|\[\^?\]?(?:\\.|[^\[\]\\])*\]|[^\\\[\](){}|*+?])"
_PLAIN_PATTERN = re.compile(rf"(?:{_ATOM}(?:[*+?]|\{{[0-9]{{1,4}}(?:,[0-9]{{0,4}})?\}})?)*", re.DOTALL)
_LOOSE_QUANTIFIER = re.compile(rf"{_ATOM}(?P<loose>[*+?]|\{{[0-9]+,[0-9]*\}})?", re.DOTALL)
_LOOSENESS_MAX: Final = 3


def schema_complaint(schema: Mapping[str, Any]) -> Complaint | None:
    """The first thing in a schema that we do not take. What stands under ``enum`` or ``const`` is read as strictly."""
    if schema.get("$schema", DIALECT) != DIALECT:
        return Complaint("schema.$schema", f"must be {DIALECT}, or be left out")
    for path, depth, key, value in _walk(schema):
        problem = _problem(schema, depth, key, value)
        if problem is not None:
            return Complaint(path, problem)
    return None


def looseness(pattern: str) -> int:
    """To which power of a text's length the work of searching it may grow."""
    quantifiers = sum(found["loose"] is not None for found in _LOOSE_QUANTIFIER.finditer(pattern))
    return quantifiers + (not pattern.startswith("^"))  # without ^, each place in the text is a beginning


def _problem(schema: object, depth: int, key: str, value: object) -> str | None:
    text = value if isinstance(value, str) else None  # a property may be called "pattern": its value is no text
    problem = None
    if depth > DEPTH_MAX:
        problem = f"is nested deeper than {DEPTH_MAX}"
    elif "\0" in key or (text and "\0" in text):
        problem = "holds the character U+0000"
    elif key in _REFUSED_KEYWORDS:
        problem = f"{key} is not taken"
    elif text is not None:
        if key in _OF_THE_WHOLE and depth > 1:
            problem = f"{key} is taken only at the top"
        elif key == "$ref":
            problem = _reference_problem(schema, text)
        elif key == "pattern":
            problem = _pattern_problem(text)
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
        return "only references inside the schema are followed: '#', or '#/$defs/…'"
    found = schema
    for part in unquote(reference).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return "leads to nothing in the schema"
    return None if isinstance(found, (dict, bool)) else "leads to what is no schema"


def _pattern_problem(pattern: str) -> str | None:
    if len(pattern) > PATTERN_LENGTH_MAX:
        return f"a pattern has at most {PATTERN_LENGTH_MAX} characters"
    if not _PLAIN_PATTERN.fullmatch(pattern):
        return "a pattern has no groups, alternatives, back references or lazy quantifiers; anyOf and enum say as much"
    if looseness(pattern) > _LOOSENESS_MAX:
        return "a pattern begins with ^ and has at most three of *, +, ? and {m,n}, or has at most two of them"
    try:
        re.compile(pattern)
    except (re.error, OverflowError) as error:
        return f"is no regular expression: {error}"
    return None
