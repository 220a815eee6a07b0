"""Filters: which events of a type an endpoint wants. ``parse_filter`` reads one, ``Filter.judge`` applies it.

    {"scope": {"campaign_id": ["camp_A"]},
     "match": {"data.message.protocol": {"in": ["sms", "mms"]}, "data.message.segments": {"gte": 2, "lt": 5}}}

Every clause must hold. ``scope.X`` lists the values that ``data.scope.X`` may have. ``match`` has an object of
operators for each path:

- A path is as in ``path.py`` beside this; a missing value reads as null. ``exists`` means "present and not
  null"; ``{"eq": null}`` is the same as ``{"exists": false}``.
- ``eq`` and ``in`` compare text with text, numbers with numbers (1 equals 1.0), booleans with booleans. Nothing
  is converted: "1" is not 1, and true is not 1. An object or a list equals nothing.
- ``prefix`` holds for text only; ``gt``, ``gte``, ``lt``, ``lte`` hold for numbers only.
- ``not`` wraps operators, and holds exactly when they do not all hold; so it also holds where the path is missing.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from service.core.endpoints.filter.clause import (
    NUMBER_MAX,
    NUMBER_MIN,
    Clause,
    Condition,
    Mismatch,
    Operator,
    as_json,
    is_number,
)
from service.core.endpoints.filter.path import PATH_CHARACTERS_MAX, is_storable, read_path, value_at
from service.core.events.scope import ScopeName
from service.core.field_code import FieldCode, FieldSentence
from service.core.suggestion import SUGGESTIONS_MAX, did_you_mean

__all__ = ["Filter", "FilterRefused", "Mismatch", "decode_envelope", "parse_filter"]

CLAUSES_MAX: Final = 50
VALUES_MAX: Final = 100
TEXT_CHARACTERS_MAX: Final = 1000
SCOPES: Final = tuple(each.value for each in ScopeName)


@dataclass(frozen=True, slots=True)
class Filter:
    """Clauses that must all hold; with no clauses, every event passes."""

    clauses: tuple[Clause, ...]

    def judge(self, envelope: Mapping[str, Any]) -> Mismatch | None:
        """The first clause that ``envelope`` fails; None when it passes. Never raises."""
        for clause in self.clauses:
            value = value_at(envelope, clause.path)
            if not clause.condition.holds(value):
                return Mismatch(clause.name, str(clause.condition), as_json(value))
        return None


@dataclass(frozen=True, slots=True)
class FilterRefused:
    """Why a filter is invalid: sentences by path in the filter (``match.data.x.gte``); "" is the filter itself."""

    problems: Mapping[str, str]


def parse_filter(value: object) -> Filter | FilterRefused:
    """Read a filter from decoded JSON. Never raises: an invalid filter is refused with all its problems."""
    reader = _Reader()
    reader.read(value)
    return FilterRefused(reader.problems) if reader.problems else Filter(tuple(reader.clauses))


def decode_envelope(body: bytes) -> Mapping[str, Any]:
    """Decode an event's stored bytes. Numbers too large read as infinity; raises ValueError if it is not JSON."""
    try:
        decoded = msgspec.json.decode(body)
    except msgspec.DecodeError:  # a huge number or half a surrogate pair: rare, but valid
        decoded = json.loads(body, parse_int=_any_int)
    if not isinstance(decoded, dict):
        raise ValueError("an envelope must be a JSON object")  # noqa: TRY004 - of the bytes, not of the argument
    return decoded


_DENIABLE: Final = tuple(each for each in Operator if each is not Operator.NOT)


class _Reader:
    """Walks a filter once and collects clauses and problems; the clauses are ignored if there is a problem."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}
        self.clauses: list[Clause] = []
        self._conditions_count = 0
        self._strangers_count = 0

    def read(self, value: object) -> None:
        parts = self._members("", value, ("scope", "match"), "must be an object with 'scope' and 'match'")
        for name, allowed in self._members("scope", parts.get("scope", {}), SCOPES).items():
            where = f"scope.{name}"
            values = self._values(where, allowed, "a list of ids", _is_text)
            self._count()
            self.clauses.append(Clause(where, ("data", "scope", name), Condition(Operator.IN, values)))
        for path, operators in self._members("match", parts.get("match", {}), None).items():
            where = f"match.{_name_shown(path)}"
            keys = read_path(path)
            if isinstance(keys, str):
                self.problems[where] = FieldSentence(keys, FieldCode.WRONG_FORM)
            else:
                conditions = self._conditions(where, operators, tuple(Operator))
                self.clauses += [Clause(f"{where}.{each.operator}", keys, each) for each in conditions]

    def _members(
        self, where: str, value: object, known: tuple[str, ...] | None, rule: str = "must be an object"
    ) -> dict[str, Any]:
        """The members of an object; names not in ``known`` are recorded as problems (None allows any name)."""
        if not isinstance(value, dict):
            self.problems[where] = FieldSentence(rule, FieldCode.WRONG_TYPE)
            return {}
        if len(value) > CLAUSES_MAX:
            self.problems[where] = _TOO_MANY
            return {}
        strangers = [name for name in value if known is not None and name not in known]
        for name in strangers:
            self._strangers_count += 1
            close = did_you_mean(name, known or ()) if self._strangers_count <= SUGGESTIONS_MAX else ""
            hint = close or f"; expected one of {', '.join(known or ())}"
            place = ".".join(filter(None, (where, _name_shown(name))))
            self.problems[place] = FieldSentence(f"unknown{hint}", FieldCode.UNKNOWN_FIELD)
        return {name: inner for name, inner in value.items() if name not in strangers}

    def _conditions(self, where: str, value: object, known: tuple[Operator, ...]) -> tuple[Condition, ...]:
        if not isinstance(value, dict):
            example = '{"in": [...]}' if isinstance(value, list) else '{"eq": ...}'
            why = f"must be an object of operators, such as {example}"
            self.problems[where] = FieldSentence(why, FieldCode.WRONG_TYPE)
            return ()
        if not value:
            why = f"needs at least one operator: {', '.join(known)}"
            self.problems[where] = FieldSentence(why, FieldCode.REQUIRED)
        return tuple(
            self._condition(f"{where}.{name}", Operator(name), operand)
            for name, operand in self._members(where, value, known).items()
        )

    def _condition(self, where: str, operator: Operator, operand: object) -> Condition:
        if operator is Operator.NOT:
            return Condition(operator, self._conditions(where, operand, _DENIABLE))
        self._count()
        problem = None
        match operator:
            case Operator.IN:
                return Condition(operator, self._values(where, operand, "a list of values", _is_scalar))
            case Operator.EQ if not _is_scalar(operand):
                problem = _SCALAR_RULE
            case Operator.PREFIX if not _is_text(operand):
                problem = _TEXT_RULE
            case Operator.EXISTS if not isinstance(operand, bool):
                problem = "must be true or false"
            case Operator.GT | Operator.GTE | Operator.LT | Operator.LTE if not _is_storable_number(operand):
                problem = _NUMBER_RULE
        if problem is not None:
            self.problems[where] = FieldSentence(problem, FieldCode.WRONG_TYPE)
        return Condition(operator, operand)

    def _values(self, where: str, value: object, what: str, fits: Callable[[object], bool]) -> tuple[object, ...]:
        if not isinstance(value, list) or not 1 <= len(value) <= VALUES_MAX:
            why = f"must be {what}, with 1 to {VALUES_MAX} entries"
            code = FieldCode.OUT_OF_RANGE if isinstance(value, list) else FieldCode.WRONG_TYPE
            self.problems[where] = FieldSentence(why, code)
            return ()
        rule = _TEXT_RULE if fits is _is_text else _SCALAR_RULE
        self.problems |= {
            f"{where}[{index}]": FieldSentence(rule, FieldCode.WRONG_TYPE)
            for index, each in enumerate(value)
            if not fits(each)
        }
        return tuple(value)

    def _count(self) -> None:
        self._conditions_count += 1
        if self._conditions_count > CLAUSES_MAX:
            self.problems[""] = _TOO_MANY


_TOO_MANY: Final = FieldSentence(f"a filter may have at most {CLAUSES_MAX} clauses", FieldCode.OUT_OF_RANGE)
_TEXT_RULE: Final = f"must be text of 1 to {TEXT_CHARACTERS_MAX} characters, without NUL"
_NUMBER_RULE: Final = "must be a number of at most 64 bits"
_SCALAR_RULE: Final = (
    f"must be null, true, false, a number of at most 64 bits, or text of at most {TEXT_CHARACTERS_MAX} characters"
)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= TEXT_CHARACTERS_MAX and is_storable(value)


def _is_storable_number(value: object) -> bool:
    return is_number(value) and NUMBER_MIN <= value <= NUMBER_MAX


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, bool) or value == "" or _is_text(value) or _is_storable_number(value)


def _any_int(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # Python reads at most 4300 digits
        return float(digits)


def _name_shown(name: str) -> str:
    return name if name.isprintable() and len(name) <= PATH_CHARACTERS_MAX else ascii(name[:PATH_CHARACTERS_MAX])
