"""JSON Schema validation with bounded work: every keyword evaluated costs steps of a budget."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

from jsonschema import Draft202012Validator, ValidationError
from jsonschema._utils import find_evaluated_item_indexes_by_schema, find_evaluated_property_keys_by_schema
from jsonschema.validators import extend

from service.core.events.own_types.schema_pattern import is_found, search_steps
from service.core.events.registry import Complaint
from service.core.field_code import FieldCode

STEPS_MAX: Final = 20_000
"""The budget for one event: about a step for each keyword and each value it is checked against; some 0.3 s."""
STEPS_AT_ONCE_MAX: Final = 2_500
"""The part of it that the event loop can wait for; some 40 ms."""

COMPLAINTS_MAX: Final = 100
"""Of one event."""
_TOLD_LENGTH_MAX: Final = 200
_CHARACTERS_PER_STEP: Final = 500
"""How many characters the library writes into an error in the time of a step: it quotes the value, and the rule."""

_steps_left: ContextVar[list[int]] = ContextVar("steps_left")


class TooMuchWorkError(Exception):
    """The budget of steps is spent."""


def complaints_of(schema_text: str, data: object, *, steps_max: int = STEPS_MAX) -> tuple[Complaint, ...]:
    """The violations of the schema in ``data``, at most ``COMPLAINTS_MAX`` fields, each with its first.

    Where the budget ends after the first, the others stay unsaid. Raises ``TooMuchWorkError`` where it ends before,
    ``RecursionError``, and whatever the library raises for a schema that was not checked.
    """
    _steps_left.set([steps_max])
    found: dict[str, Complaint] = {}
    try:
        for error in _errors(schema_text, data):
            complaint = _complaint(error)
            found.setdefault(complaint.field, complaint)
            if len(found) >= COMPLAINTS_MAX:
                break
    except (TooMuchWorkError, RecursionError):
        if not found:
            raise
    return tuple(found.values())


_CODES: Final = {
    **dict.fromkeys(("enum", "const"), FieldCode.UNKNOWN_VALUE),
    **dict.fromkeys(("additionalProperties", "unevaluatedProperties", "propertyNames"), FieldCode.UNKNOWN_FIELD),
    **dict.fromkeys(("minLength", "maxLength", "minimum", "maximum"), FieldCode.OUT_OF_RANGE),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"), FieldCode.OUT_OF_RANGE),
    **dict.fromkeys(("minProperties", "maxProperties"), FieldCode.OUT_OF_RANGE),
    **dict.fromkeys(("pattern", "format"), FieldCode.WRONG_FORM),
    "type": FieldCode.WRONG_TYPE,
    "uniqueItems": FieldCode.REPEATED,
}


def _complaint(error: Any) -> Complaint:  # noqa: ANN401 - the library is not typed
    path = path_of("data", error)
    if error.validator == "required":
        return Complaint(cut(f"{path}.{error.message}"), "is required", FieldCode.REQUIRED)
    if error.validator is None:  # a subschema is just false; the library does not say which value it applies to
        return Complaint(path, "contains something that its schema does not allow")
    # Show the rule but not the value: park reasons are logged, and data is about people.
    rule = json.dumps(error.validator_value, ensure_ascii=False)
    code = _CODES.get(error.validator, FieldCode.INVALID)
    return Complaint(path, f"does not satisfy {cut(f'{error.validator}: {rule}')}", code)


def _errors(schema_text: str, data: object) -> Iterator[Any]:
    try:
        yield from _validator(schema_text).iter_errors(data)
    except BaseException as error:
        # Where the stack ends inside rpds, which is Rust, it panics; that is no Exception, and would end the worker.
        if type(error).__name__ == "PanicException":
            raise RecursionError from None
        raise


def path_of(root: str, error: Any) -> str:  # noqa: ANN401 - the library is not typed
    """Where in ``root`` the error is: ``data.order.items[2].sku``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    return cut(root + "".join(parts))


def cut(text: str) -> str:
    """Shorten and clean a tenant's text so that it fits into an error message and a broker header."""
    short = text if len(text) <= _TOLD_LENGTH_MAX else f"{text[:_TOLD_LENGTH_MAX]}…"
    return short.encode(errors="replace").decode()  # half of a surrogate pair has no UTF-8


def _spend(steps: int) -> None:
    left = _steps_left.get()
    left[0] -= steps
    if left[0] < 0:
        raise TooMuchWorkError


def _size(value: object) -> int:
    return len(value) if isinstance(value, (dict, list)) else 0


def _whole_size(value: object) -> int:
    """How many values there are in it, at any depth."""
    count, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, (dict, list)):
            count += len(each)
            waiting += each.values() if isinstance(each, dict) else each
    return count


Check = Callable[[Any, Any, Any, Any], Iterator[Any] | None]


def _counted(name: str, check: Check) -> Check:
    size = _whole_size if name in _COMPARED_WHOLE else _size

    def counted(validator: object, value: object, instance: object, schema: object) -> Iterator[Any]:
        _spend(1 + (size(value) + size(instance)) // 2)
        for error in check(validator, value, instance, schema) or ():
            _spend(1 + len(error.message) // _CHARACTERS_PER_STEP)
            yield error

    return counted


def _pattern(_: object, pattern: str, instance: object, __: object) -> Iterator[Any]:
    if not isinstance(instance, str):
        return
    _spend(search_steps(pattern, instance))
    if not is_found(pattern, instance):
        yield ValidationError("does not match")


def _required(_: object, names: Any, instance: object, __: object) -> Iterator[Any]:  # noqa: ANN401
    if isinstance(instance, dict):
        yield from (ValidationError(name) for name in names if name not in instance)


def _unique_items(_: object, is_wanted: object, instance: object, __: object) -> Iterator[Any]:
    # The library compares every object in a list with every other.
    if is_wanted is True and isinstance(instance, list) and len(set(map(_canonical, instance))) < len(instance):
        yield ValidationError("has an item twice")


def _unevaluated_items(validator: object, _: object, instance: object, schema: object) -> Iterator[Any]:
    # The library looks for every index in a list, and for every name below.
    if isinstance(instance, list):
        evaluated = set(find_evaluated_item_indexes_by_schema(_Looking(validator, instance), instance, schema))
        if not evaluated.issuperset(range(len(instance))):
            yield ValidationError("has an item too many")


def _unevaluated_properties(validator: object, _: object, instance: object, schema: object) -> Iterator[Any]:
    if isinstance(instance, dict):
        evaluated = set(find_evaluated_property_keys_by_schema(_Looking(validator, instance), instance, schema))
        if not evaluated.issuperset(instance):
            yield ValidationError("has a property too many")


class _Looking:
    """A validator that pays for every schema in which the library looks for what has been evaluated.

    Through ``dependentSchemas`` it looks into them without validating, so no keyword would pay.
    """

    def __init__(self, validator: Any, instance: object) -> None:  # noqa: ANN401 - the library is not typed
        self._validator = validator
        self._instance = instance

    def is_type(self, value: object, name: str) -> bool:
        """What the library asks first of each schema: whether it is a boolean."""
        _spend(1 + _size(self._instance) // 2)
        return bool(self._validator.is_type(value, name))

    def evolve(self, **changes: object) -> "_Looking":
        return _Looking(self._validator.evolve(**changes), self._instance)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._validator, name)


def _canonical(value: object) -> str:
    """A text, the same exactly where JSON Schema says equal: 1 equals 1.0, but 1 does not equal true.

    A set of texts is safe from hostile ones: Python salts their hashes. Numbers can be chosen so that all hash alike.
    """
    _spend(1)
    match value:
        case dict():
            members = sorted(f"{json.dumps(key)}:{_canonical(each)}" for key, each in value.items())
            return "{" + ",".join(members) + "}"
        case list():
            return "[" + ",".join(map(_canonical, value)) + "]"
        case float() if value.is_integer():
            return f"{int(value):x}"
        case int() if not isinstance(value, bool):
            return f"{value:x}"  # unlike decimal digits, these take linear time
        case _:
            return json.dumps(value)


_COMPARED_WHOLE: Final = {"const", "enum"}
"""The library compares these at every depth by itself; other keywords meet what is inside as keywords of their own."""
_OURS: Final[Mapping[str, Check]] = {
    "pattern": _pattern,
    "required": _required,
    "uniqueItems": _unique_items,
    "unevaluatedItems": _unevaluated_items,
    "unevaluatedProperties": _unevaluated_properties,
}
_Bounded: Final = extend(  # type: ignore[no-untyped-call] # missing from its stubs
    Draft202012Validator,
    {name: _counted(name, _OURS.get(name, check)) for name, check in Draft202012Validator.VALIDATORS.items()},
)


@lru_cache(maxsize=256)
def _validator(schema_text: str) -> Any:  # noqa: ANN401 - the library is not typed
    return _Bounded(json.loads(schema_text))
