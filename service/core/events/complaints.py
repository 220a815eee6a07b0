"""Everything that is wrong with the ``data`` of an event, for whoever has to mend it.

The road of an event knows only whether there is a first problem (``registry.about_of``), because that is quick. What is
refused is read again here.
"""

from collections.abc import Iterator
from itertools import islice
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin

import msgspec

from service.core.events.data import Data
from service.core.events.registry import REGISTRY, Complaint, about_of, code_of_reader
from service.core.field_code import FieldCode

COMPLAINTS_MAX: Final = 100
"""Of one event: its 256 kB have room for ten thousands."""
ITEMS_MAX: Final = 1_000
"""How many items of a list are looked at one by one; further on only the first mistake is told."""

_items_of = msgspec.json.Decoder(list[msgspec.Raw])
_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw])
_plain = msgspec.json.Decoder()


def complaints_about(event_type: str, data: bytes) -> tuple[Complaint, ...]:
    """What is wrong with ``data``, at most ``COMPLAINTS_MAX``. An own type's schema is applied by ``OwnEventType``."""
    about = about_of(event_type, data)
    if not isinstance(about, Complaint):
        return ()
    if event_type not in REGISTRY:
        return (about,)
    mistyped = tuple(islice(_mistyped(data, Data, "data"), COMPLAINTS_MAX))
    known = {each.field for each in mistyped}
    try:
        missing = [each for each in _missing(event_type, _plain.decode(data)) if known.isdisjoint(ways_to(each.field))]
    except (msgspec.DecodeError, RecursionError):
        return (about,)
    return (*mistyped, *missing)[:COMPLAINTS_MAX]


def _mistyped(value: bytes | msgspec.Raw, kind: Any, path: str) -> Iterator[Complaint]:  # noqa: ANN401 - any type of data.py
    """What does not have its documented type; innermost, as that is where it has to be mended."""
    try:
        msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        choices = [each for each in _choices(kind) if each is not NoneType]
        inner = list(islice(_mistyped_inside(value, choices[0], path), COMPLAINTS_MAX)) if len(choices) == 1 else []
        what, _, where = str(error).partition(" - at `$")
        yield from inner or (Complaint(f"{path}{where.rstrip('`')}", what, code_of_reader(what)),)


def _choices(kind: Any) -> tuple[Any, ...]:  # noqa: ANN401
    return get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)


def _mistyped_inside(value: bytes | msgspec.Raw, kind: Any, path: str) -> Iterator[Complaint]:  # noqa: ANN401
    try:
        if get_origin(kind) is list:
            for index, item in enumerate(islice(_items_of.decode(value), ITEMS_MAX)):
                yield from _mistyped(item, get_args(kind)[0], f"{path}[{index}]")
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            fields = _fields_of.decode(value)
            for each in msgspec.structs.fields(kind):
                if each.encode_name in fields:
                    yield from _mistyped(fields[each.encode_name], each.type, f"{path}.{each.encode_name}")
    except (msgspec.DecodeError, RecursionError):
        return  # it is no list, or no object: that is the complaint


def _missing(event_type: str, data: object) -> Iterator[Complaint]:
    kind = REGISTRY[event_type]
    for path in kind.required:
        if _value_at(data, path) in (None, ""):
            yield Complaint(f"data.{path}", f"is required for {event_type}", FieldCode.REQUIRED)
    for path, allowed in kind.values.items():
        if _value_at(data, path) not in allowed:
            detail = f"must be {' or '.join(map(repr, allowed))} for {event_type}"
            yield Complaint(f"data.{path}", detail, FieldCode.UNKNOWN_VALUE)
    if kind.any_of and not any(_value_at(data, path) for path in kind.any_of):
        detail = f"{event_type} needs content here, or in {' or '.join(kind.any_of[1:])}"
        yield Complaint(f"data.{kind.any_of[0]}", detail, FieldCode.REQUIRED)


def _value_at(data: object, path: str) -> object:
    for name in path.split("."):
        data = data.get(name) if isinstance(data, dict) else None
    return data


def ways_to(field: str) -> Iterator[str]:
    """The field itself, and all that it is in: ``data.message.id``, ``data.message``, ``data``."""
    while field:
        yield field
        field = field.rpartition(".")[0]
