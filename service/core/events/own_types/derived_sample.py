"""A sample of an own event type's ``data``, made from its schema.

Schemas are written by tenants, so the work is bounded: each value, and each entry of what is merged, costs a step. What
is made is a proposal that the schema itself then judges. It knows nothing of patterns, ``not`` and ``if``: where it
fails, the tenant gives a sample.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from service.core.events.own_types.bounded_validator import STEPS_AT_ONCE_MAX, TooMuchWorkError, complaints_of

STEPS_MAX: Final = 5_000
"""For one proposal; some 10 ms."""
DEPTH_MAX: Final = 6
"""Below it no optional property is made: a schema may refer to itself."""
TEXT_LENGTH_MAX: Final = 1_000
_CHARACTERS_PER_STEP: Final = 20

_TEXT: Final = "sample"
_OF_FORMATS: Final[Mapping[str, str]] = {
    "date-time": "2026-11-20T18:25:35.123456Z",
    "date": "2026-11-20",
    "time": "18:25:35Z",
    "duration": "PT5M",
    "email": "ben@example.org",
    "hostname": "www.example.org",
    "ipv4": "198.51.100.7",
    "ipv6": "2001:db8::7",
    "uri": "https://www.example.org/",
    "uri-reference": "/sample",
    "uuid": "018f4e6a-7b1c-7d20-8a3b-5c6d7e8f9a0b",
}
_TYPE_OF_KEYWORD: Final[Mapping[str, str]] = {
    **dict.fromkeys(("properties", "required", "additionalProperties", "minProperties"), "object"),
    **dict.fromkeys(("items", "prefixItems", "minItems", "maxItems", "uniqueItems"), "array"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), "number"),
}


def derived_sample(schema: Mapping[str, Any], schema_text: str) -> dict[str, Any] | None:
    """Data that satisfies the schema, with its optional properties if that can be; None if none is found.

    Takes some 0.1 s at most. ``schema_text`` is the schema, as it is stored.
    """
    for has_optional in (True, False):
        try:
            proposed = _Proposal(schema, has_optional=has_optional).value(schema, 0)
            if isinstance(proposed, dict) and not complaints_of(schema_text, proposed, steps_max=STEPS_AT_ONCE_MAX):
                return proposed
        except Exception:  # noqa: BLE001, S112 - a tenant's schema may be anything; the next proposal is simpler
            continue
    return None


class _Proposal:
    """Makes a value for a schema, within a budget of steps. Raises ``TooMuchWorkError`` beyond it."""

    def __init__(self, root: Mapping[str, Any], *, has_optional: bool) -> None:
        self._root = root
        self._has_optional = has_optional
        self._steps_left = STEPS_MAX

    def value(self, schema: object, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        """A value that the schema may allow."""
        self._spend(1)
        if not isinstance(schema, Mapping):
            return _TEXT
        plain = self._plain(schema)
        named = [plain[name] for name in ("const", "default") if name in plain]
        named += [plain[name][0] for name in ("enum", "examples") if plain.get(name)]
        if named:
            self._spend(len(json.dumps(named[0])) // _CHARACTERS_PER_STEP)
            return named[0]
        made: Any
        match _type_of(plain):
            case "object":
                made = self._object(plain, depth)
            case "array":
                made = self._array(plain, depth)
            case "integer" | "number":
                made = _number(plain, is_whole=plain.get("type") != "number")
            case "boolean":
                made = True
            case "null":
                made = None
            case _:
                made = _text(plain)
                self._spend(len(made) // _CHARACTERS_PER_STEP)
        return made

    def _plain(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema with its reference, all of ``allOf``, and the first of each choice merged into it."""
        merged: dict[str, Any] = {}
        waiting: list[object] = [schema]
        while waiting:
            each = waiting.pop()
            if not isinstance(each, Mapping):
                continue
            self._spend(1 + len(each))
            for name, found in each.items():
                if name == "$ref":
                    waiting.append(self._referred(found))
                elif name == "allOf":
                    waiting += found
                elif name in {"anyOf", "oneOf"}:
                    waiting.append(found[0])
                elif name == "properties" and name in merged:
                    self._spend(len(merged[name]) + len(found))
                    merged[name] = {**merged[name], **found}
                elif name == "required" and name in merged:
                    self._spend(len(merged[name]) + len(found))
                    merged[name] = [*merged[name], *found]
                else:
                    merged.setdefault(name, found)
        return merged

    def _referred(self, reference: str) -> object:
        found: Any = self._root
        for part in unquote(reference).split("/")[1:]:
            self._spend(1)
            name = part.replace("~1", "/").replace("~0", "~")
            found = found[int(name)] if isinstance(found, list) else found[name]
        return found

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        required = dict.fromkeys(schema.get("required", ()))
        names = {**required, **dict.fromkeys(properties)} if self._has_optional and depth < DEPTH_MAX else required
        made = {}
        for name in names:
            inner = properties.get(name, others)
            if inner is not False:
                made[name] = self.value(inner, depth + 1)
        return made

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        first: Sequence[object] = schema.get("prefixItems", ())
        others = schema.get("items", {})
        wanted = max(schema.get("minItems", 1 if others is not False else 0), len(first))
        count = min(wanted, schema.get("maxItems", wanted))
        kinds = (first[index] if index < len(first) else others for index in range(math.ceil(count)))
        return [self.value(each, depth + 1) for each in kinds]

    def _spend(self, steps: int) -> None:
        self._steps_left -= steps
        if self._steps_left < 0:
            raise TooMuchWorkError


def _type_of(schema: Mapping[str, Any]) -> str | None:
    found = schema.get("type")
    if isinstance(found, list):
        return next((each for each in found if each != "null"), "null")
    if found is None:
        return next((_TYPE_OF_KEYWORD[name] for name in schema if name in _TYPE_OF_KEYWORD), None)
    return str(found)


def _text(schema: Mapping[str, Any]) -> str:
    text = _OF_FORMATS.get(schema.get("format", ""), _TEXT)
    least, most = schema.get("minLength", 0), schema.get("maxLength", TEXT_LENGTH_MAX)
    if least > TEXT_LENGTH_MAX:
        raise TooMuchWorkError
    return text.ljust(math.ceil(least), "x")[: math.floor(most)]


def _number(schema: Mapping[str, Any], *, is_whole: bool) -> float:
    """The smallest number that is allowed and not below 1, or the largest one below."""
    step = schema.get("multipleOf", 1 if is_whole else 0)
    least = max(schema.get("minimum", 1), _beyond(schema.get("exclusiveMinimum"), step, 1))
    most = min(schema.get("maximum", math.inf), _beyond(schema.get("exclusiveMaximum"), step, -1))
    number = min(max(least, 1), most)
    if step:
        number = (math.floor if number == most else math.ceil)(number / step) * step
    return int(number) if is_whole or number == int(number) else number


def _beyond(bound: float | None, step: float, sign: int) -> float:
    """The next number after an exclusive bound, upwards or downwards; no bound is infinitely far."""
    return -sign * math.inf if bound is None else bound + sign * (step or 0.5)
