"""The registry of built-in event types (``types/`` has a file for each family), and the checks of their ``data``."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import msgspec

from service.core.events.data import Data
from service.core.events.event_type import EventType
from service.core.events.scope import ScopeName
from service.core.events.types.link import LINK
from service.core.events.types.message import MESSAGE
from service.core.events.types.operational import OPERATIONAL
from service.core.field_code import FieldCode
from service.core.suggestion import did_you_mean

NAME_LENGTH_MAX: Final = 64
NAME_PATTERN: Final = r"[a-z0-9_]+(\.[a-z0-9_]+)+"
"""The pattern of every event type's name, built in or not."""

MESSAGE_ID_LENGTH_MAX: Final = 256

_NAME = re.compile(NAME_PATTERN)
_text_of = msgspec.json.Decoder(str)
_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NOTHING: Final = b"{}"
_SCOPE: Final = tuple(each.value for each in ScopeName)
_NO_SCOPE: Final = (None,) * len(_SCOPE)


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with ``data``, and in which field."""

    field: str
    detail: str
    code: FieldCode = FieldCode.INVALID


FAMILIES: Final = (MESSAGE, LINK)
REGISTRY: Final[Mapping[str, EventType]] = {kind.name: kind for family in FAMILIES for kind in family.types}
"""The built-in types that producers publish."""
BUILT_IN: Final = (*REGISTRY, *OPERATIONAL)
"""The names of all built-in types: those that producers publish, then those that Posthorn itself does."""
BINDINGS: Final = tuple(family.binding for family in FAMILIES)
"""The routing keys that bring every built-in type to the intake queue."""


def is_event_type_name(text: str) -> bool:
    """Whether ``text`` has the form of an event type's name."""
    return len(text) <= NAME_LENGTH_MAX and _NAME.fullmatch(text) is not None


def unknown_type(name: str, *, suggests: bool = True) -> str:
    """The error message for an event type that does not exist; finding a suggestion takes some 0.3 ms."""
    known = f"neither built in ({', '.join(REGISTRY)}) nor registered by the organization"
    return f"{name[:80]!r} is {known}{did_you_mean(name, REGISTRY) if suggests else ''}"


def is_subscribable(pattern: str, own_names: Collection[str]) -> bool:
    """Whether ``pattern`` can be subscribed to: a known type, ``*``, or a ``prefix.*`` that covers a known type.

    ``own_names`` are the types that the organization registered.
    """
    if pattern == "*" or pattern in BUILT_IN or pattern in own_names:
        return True
    prefix, star, rest = pattern.partition("*")
    return (
        star == "*" and not rest and prefix.endswith(".") and any(n.startswith(prefix) for n in (*BUILT_IN, *own_names))
    )


class _WithScope(Data):
    """Also with the scope's own bytes: what is in it is looked for, but refuses no event."""

    scope: msgspec.Raw = msgspec.Raw(_NOTHING)


_decode = msgspec.json.Decoder(_WithScope).decode


def _getter(path: str) -> Callable[[Data], object]:
    get = attrgetter(path.replace("from", "from_"))

    def value_at(data: Data) -> object:
        try:
            return get(data)
        except AttributeError:  # a value along the path is null
            return None

    return value_at


@dataclass(frozen=True, slots=True)
class About:
    """The ids of the message that an event is about, and the id of the one it replies to; None if missing or too long.

    ``external_id`` is what its sender calls it. The last three are its scope.
    """

    message_id: str | None = None
    reply_to_id: str | None = None
    external_id: str | None = None
    brand_id: str | None = None
    campaign_id: str | None = None
    project_id: str | None = None


_CHECKS = {
    kind.name: (
        tuple((path, _getter(path)) for path in kind.required),
        tuple((path, _getter(path), values) for path, values in kind.values.items()),
        tuple((path, _getter(path)) for path in kind.any_of),
    )
    for kind in REGISTRY.values()
}


def code_of_reader(sentence: str) -> FieldCode:
    """The code of what msgspec says of a value."""
    if " of length " in sentence:
        return FieldCode.OUT_OF_RANGE
    if "missing required field" in sentence:
        return FieldCode.REQUIRED
    if "enum value" in sentence:
        return FieldCode.UNKNOWN_VALUE
    return FieldCode.WRONG_TYPE if sentence.startswith("Expected") else FieldCode.WRONG_FORM


def read_data(event_type: str, data: bytes) -> _WithScope | Complaint:
    """The documented keys of the ``data`` of a built-in ``event_type``, or the first problem with it."""
    try:
        decoded = _decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        what, _, where = str(error).partition(" - at `$")
        return Complaint(f"data{where.rstrip('`')}", what, code_of_reader(what))
    required, values, any_of = _CHECKS[event_type]
    for path, get in required:
        if get(decoded) in (None, ""):
            return Complaint(f"data.{path}", f"is required for {event_type}", FieldCode.REQUIRED)
    for path, get, allowed in values:
        if get(decoded) not in allowed:
            detail = f"must be {' or '.join(map(repr, allowed))} for {event_type}"
            return Complaint(f"data.{path}", detail, FieldCode.UNKNOWN_VALUE)
    if any_of and not any(get(decoded) for _, get in any_of):
        return Complaint(
            f"data.{any_of[0][0]}",
            f"{event_type} needs content here, or in {' or '.join(REGISTRY[event_type].any_of[1:])}",
            FieldCode.REQUIRED,
        )
    return decoded


def about_of(event_type: str, data: bytes) -> About | Complaint:
    """Which messages an event is about, or what is wrong with its ``data``.

    For a type that is not built in, ``data`` need only be a JSON object: ``flow.judgement`` applies its schema.
    """
    if event_type in REGISTRY:
        found = read_data(event_type, data)
        if isinstance(found, Complaint):
            return found
        message, reply_to = found.message, found.reply_to
        return About(
            _kept(message.id) if message else None,
            _kept(reply_to.message_id) if reply_to else None,
            _kept(message.external_id) if message else None,
            *_scope_in(found.scope),
        )
    try:
        fields = _fields_of.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        return Complaint("data", f"must be a JSON object: {error}", FieldCode.WRONG_TYPE)
    return About(
        _text_in(fields, "message", "id"),
        _text_in(fields, "reply_to", "message_id"),
        _text_in(fields, "message", "external_id"),
        *_scope_in(fields.get("scope", _NOTHING)),
    )


def _scope_in(scope: bytes | msgspec.Raw) -> tuple[str | None, ...]:
    """The ids of the scope, in the order of ``ScopeName``."""
    try:
        found = _fields_of.decode(scope)
    except (msgspec.DecodeError, RecursionError):
        return _NO_SCOPE
    return tuple(_text(found[name]) if name in found else None for name in _SCOPE)


def _text_in(fields: Mapping[str, msgspec.Raw], name: str, inner: str) -> str | None:
    try:
        return _text(_fields_of.decode(fields.get(name, _NOTHING)).get(inner, b'""'))
    except (msgspec.DecodeError, RecursionError):
        return None


def _text(value: bytes | msgspec.Raw) -> str | None:
    try:
        return _kept(_text_of.decode(value))
    except msgspec.DecodeError:
        return None


def _kept(message_id: str | None) -> str | None:
    return message_id if message_id and len(message_id) <= MESSAGE_ID_LENGTH_MAX else None
