"""Clauses: what a filter asks of one value of an event. ``filter.py`` beside it has the rules."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import ge, gt, le, lt
from typing import Any, Final, TypeGuard

_SHOWN_CHARACTERS_MAX: Final = 100
_SHOWN_VALUES_MAX: Final = 10


class Operator(StrEnum):
    """The operators a filter can apply to the value at a path."""

    EQ = "eq"
    IN = "in"
    PREFIX = "prefix"
    EXISTS = "exists"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    NOT = "not"


NUMBER_MIN: Final = -(2**63)
NUMBER_MAX: Final = 2**63 - 1
"""Bounds of the numbers in a filter. An event's numbers may exceed them and are compared all the same."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator with its operand; the operand of ``not`` is the tuple of conditions that it negates."""

    operator: Operator
    operand: Any

    def holds(self, value: object) -> bool:
        """Whether ``value`` passes. Accepts any JSON value of any size; never raises."""
        return _HOLDS[self.operator](value, self.operand)

    def __str__(self) -> str:
        """What is expected, for people."""
        match self.operator:
            case Operator.EQ:
                return as_json(self.operand)
            case Operator.IN:
                ellipsis = ", …" if len(self.operand) > _SHOWN_VALUES_MAX else ""
                return "one of " + ", ".join(map(as_json, self.operand[:_SHOWN_VALUES_MAX])) + ellipsis
            case Operator.PREFIX:
                return f"text that begins with {as_json(self.operand)}"
            case Operator.EXISTS:
                return "a value" if self.operand else "no value"
            case Operator.NOT:
                return "anything but " + " and ".join(map(str, self.operand))
            case _:
                return f"{_EXPECTED_NUMBERS[self.operator]} {as_json(self.operand)}"


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition on the value at one path. ``name`` is its place in the filter, such as ``match.data.x.gte``."""

    name: str
    path: tuple[str, ...]
    condition: Condition


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The clause that an event failed, what it expected and what it found, as short texts for people."""

    clause: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.clause}: expected {self.expected}, found {self.found}"


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether ``value`` is a JSON number (true and false are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_same(value: object, operand: object) -> bool:
    if is_number(value):
        return is_number(operand) and value == operand
    return type(value) is type(operand) and value == operand  # an operand is never an object or a list


def _is_one_of(value: object, operands: Sequence[object]) -> bool:
    return any(_is_same(value, each) for each in operands)


def _begins(value: object, prefix: str) -> bool:
    return isinstance(value, str) and value.startswith(prefix)


def _exists(value: object, is_wanted: bool) -> bool:  # noqa: FBT001 - an operand
    return (value is not None) is is_wanted


def _is_denied(value: object, conditions: Sequence[Condition]) -> bool:
    return not all(each.holds(value) for each in conditions)


def _compares(compare: Callable[[Any, Any], bool]) -> Callable[[object, Any], bool]:
    return lambda value, operand: is_number(value) and compare(value, operand)


_HOLDS: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    Operator.EQ: _is_same,
    Operator.IN: _is_one_of,
    Operator.PREFIX: _begins,
    Operator.EXISTS: _exists,
    Operator.GT: _compares(gt),
    Operator.GTE: _compares(ge),
    Operator.LT: _compares(lt),
    Operator.LTE: _compares(le),
    Operator.NOT: _is_denied,
}
_EXPECTED_NUMBERS: Final[Mapping[Operator, str]] = {
    Operator.GT: "a number above",
    Operator.GTE: "a number, at least",
    Operator.LT: "a number below",
    Operator.LTE: "a number, at most",
}


def as_json(value: object) -> str:
    """Any value as a short text on one line that can always be encoded as UTF-8."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        ellipsis = "…" if len(value) > _SHOWN_CHARACTERS_MAX else ""
        quoted = json.dumps(value[:_SHOWN_CHARACTERS_MAX], ensure_ascii=False)
        return quoted.encode(errors="backslashreplace").decode() + ellipsis
    if isinstance(value, int) and not NUMBER_MIN <= value <= NUMBER_MAX:
        return "a number beyond 64 bits"
    return json.dumps(value)
