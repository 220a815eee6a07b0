"""A filter as rows of a form, "path, is one of, values", and back. What no row can say is edited as JSON."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

_SCOPE: Final = "data.scope."
_SCOPES: Final = frozenset({"brand_id", "campaign_id", "project_id"})
_VALUE: Final = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^,]*)\s*(?:,|$)')
_LISTS: Final = frozenset({"in", "not-in"})
_DENIED: Final = frozenset({"eq", "in", "prefix"})

OPERATORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "in": "is one of",
        "not-in": "is none of",
        "eq": "is",
        "not-eq": "is not",
        "prefix": "begins with",
        "not-prefix": "does not begin with",
        "gt": "is above",
        "gte": "is at least",
        "lt": "is below",
        "lte": "is at most",
        "exists": "is there",
        "missing": "is not there",
    }
)
"""What a row may say of a value, and how a page writes it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One clause, as it is typed."""

    path: str
    operator: str
    values: str


def rows_of(wanted: Mapping[str, Any] | None) -> Sequence[Row] | None:
    """The filter's clauses; None if it has some that no row can say."""
    try:
        return tuple(_rows(wanted or {}))
    except (_NoRowError, AttributeError):
        return None


class _NoRowError(Exception):
    """A clause that no row can say."""


def _rows(wanted: Mapping[str, Any]) -> Iterator[Row]:
    for name, values in wanted.get("scope", {}).items():
        yield Row(_SCOPE + name, "in", _written_list(values))
    for path, operators in wanted.get("match", {}).items():
        for operator, operand in operators.items():
            yield _row(path, operator, operand)


def _row(path: str, operator: str, operand: Any) -> Row:  # noqa: ANN401 - any JSON
    if operator == "exists":
        return Row(path, "exists" if operand else "missing", "")
    if operator == "not":
        if len(operand) != 1 or not operand.keys() <= _DENIED:
            raise _NoRowError
        ((inner, value),) = operand.items()
        return Row(path, f"not-{inner}", _written(value, inner))
    return Row(path, operator, _written(operand, operator))


def _written(operand: Any, operator: str) -> str:  # noqa: ANN401 - any JSON
    return _written_list(operand) if operator == "in" else _value_written(operand)


def _written_list(values: Iterable[object]) -> str:
    return ", ".join(_value_written(each) for each in values)


def _value_written(value: object) -> str:
    """A value as it is typed: text without quotes, unless it would then be read as something else."""
    if isinstance(value, str) and _one(value) == value and "," not in value and value.strip() == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def filter_of(rows: Iterable[Row]) -> Mapping[str, Any] | str | None:
    """The filter that says the same; None without rows. A text says what is wrong with them."""
    scope, match = dict[str, list[object]](), dict[str, dict[str, Any]]()
    for each in rows:
        if not each.path:
            return "a clause has values, but no path that says of what"
        operator, operand = _operand(each)
        name = each.path.removeprefix(_SCOPE)
        if operator == "in" and each.path.startswith(_SCOPE) and name in _SCOPES and name not in scope:
            scope[name] = operand
            continue
        of_path = match.setdefault(each.path, {})
        if operator in of_path:
            return f"two clauses say of {each.path[:80]} what it is{' not' if operator == 'not' else ''}; make them one"
        of_path[operator] = operand
    return {**({"scope": scope} if scope else {}), **({"match": match} if match else {})} or None


def _operand(row: Row) -> tuple[str, Any]:
    if row.operator in {"exists", "missing"}:
        return "exists", row.operator == "exists"
    inner = row.operator.removeprefix("not-")
    operand: Any = _many(row.values) if row.operator in _LISTS else _one(row.values)
    if inner == "prefix":
        operand = str(operand) if isinstance(operand, str) else row.values
    return ("not", {inner: operand}) if row.operator.startswith("not-") else (inner, operand)


def _many(text: str) -> list[object]:
    return [_one(found) for found in _VALUE.findall(text) if found.strip()]


def _one(text: str) -> object:
    """A number, true, false, null or a quoted text, as JSON has them; anything else is text."""
    text = text.strip()
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text
    is_scalar = value is None or isinstance(value, str | bool | int | float)
    return value if is_scalar and not (isinstance(value, float) and not math.isfinite(value)) else text


def _no_constant(name: str) -> object:
    raise ValueError(name)
