"""What a tenant's JSON Schema may contain: no external references, and no pattern that can backtrack for long."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import comb
from typing import Any, Final
from urllib.parse import unquote

from service.core.events.registry import Complaint

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
DEPTH_MAX: Final = 32
PATTERN_LENGTH_MAX: Final = 256

_REFUSED_KEYWORDS: Final = {"$anchor", "$dynamicAnchor", "$dynamicRef", "patternProperties"}
_OF_THE_WHOLE: Final = {"$id", "$schema"}

# A pattern is a sequence of characters, classes and escapes, each with an optional quantifier. Without groups and
# alternatives, a pattern with k loose quantifiers has some n^k ways through n characters; both are small here.
_ATOM = r"(?:\\[^0-9]|\[\^?\]?(?:\\.|[^\[\]\\])*\]|[^\\\[\](){}|*+?])"
_PLAIN_PATTERN = re.compile(rf"(?:{_ATOM}(?:[*+?]|\{{[0-9]{{1,4}}(?:,[0-9]{{0,4}})?\}})?)*", re.DOTALL)
_QUANTIFIED = re.compile(
    rf"(?P<atom>{_ATOM})(?:(?P<loose>[*+?]|\{{[0-9]+,[0-9]*\}})|\{{(?P<count>[0-9]+)\}})?", re.DOTALL
)
_LOOSENESS_MAX: Final = 3


def schema_complaint(schema: Mapping[str, Any]) -> Complaint | None:
    """The first thing in a schema that is not allowed. Values under ``enum`` and ``const`` are checked as strictly."""
    if schema.get("$schema", DIALECT) != DIALECT:
        return Complaint("schema.$schema", f"must be {DIALECT} or left out")
    for path, depth, key, value in _walk(schema):
        problem = _problem(schema, depth, key, value)
        if problem is not None:
            return Complaint(path, problem)
    return None


def looseness(pattern: str) -> int:
    """In how many places a search chooses how far to go: where it starts, and at each loose quantifier."""
    quantifiers = sum(found["loose"] is not None for found in _QUANTIFIED.finditer(pattern))
    return quantifiers + (not pattern.startswith("^"))  # without ^, the search starts at every place in the text


@lru_cache(maxsize=4096)  # more than a schema has room for
def search_steps(pattern: str, length: int) -> int:
    """How many comparisons a search in a text of this length takes at most.

    Each choice ends at or after the one before it, so there are comb(length + k, k) ways to make all k. Each way goes
    on with the rest of the pattern: an atom repeated {m} times is compared as often, and a class may be compared
    character by character.
    """
    choices = looseness(pattern)
    width = sum(len(found["atom"]) * min(int(found["count"] or 1), length) for found in _QUANTIFIED.finditer(pattern))
    return width * comb(length + choices, choices)


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


def _pattern_problem(pattern: str) -> str | None:
    if len(pattern) > PATTERN_LENGTH_MAX:
        return f"a pattern may have at most {PATTERN_LENGTH_MAX} characters"
    if not _PLAIN_PATTERN.fullmatch(pattern):
        return "groups, alternatives, back references and lazy quantifiers are not supported; use anyOf or enum instead"
    if looseness(pattern) > _LOOSENESS_MAX:
        return "a pattern may use at most two of the quantifiers *, +, ? and {m,n}, or three if it begins with ^"
    try:
        re.compile(pattern)
    except (re.error, OverflowError) as error:
        return f"is not a valid regular expression: {error}"
    return None
