"""The registry of built-in event types (``types/`` has a file for each family), and the checks of their ``data``."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import msgspec

from service.core.events.data import Data
from service.core.events.event_type import EventType
from service.core.events.types.link import LINK
from service.core.events.types.message import MESSAGE
from service.core.events.types.operational import OPERATIONAL
from service.core.suggestion import did_you_mean

NAME_LENGTH_MAX: Final = 64
NAME_PATTERN: Final = r"[a-z0-9_]+(\.[a-z0-9_]+)+"
"""The pattern of every event type's name, built in or not."""

MESSAGE_ID_LENGTH_MAX: Final = 256

_NAME = re.compile(NAME_PATTERN)
_text_of = msgspec.json.Decoder(str)
_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with ``data``, and in which field."""

    field: str
    detail: str


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


def unknown_type(name: str) -> str:
    """The error message for an event type that does not exist."""
    known = f"neither built in ({', '.join(REGISTRY)}) nor registered by the organization"
    return f"{name[:80]!r} is {known}{did_you_mean(name, REGISTRY)}"


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


_decode = msgspec.json.Decoder(Data).decode


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

    ``external_id`` is what its sender calls it.
    """

    message_id: str | None
    reply_to_id: str | None
    external_id: str | None


_CHECKS = {
    kind.name: (
        tuple((path, _getter(path)) for path in kind.required),
        tuple((path, _getter(path), values) for path, values in kind.values.items()),
        tuple((path, _getter(path)) for path in kind.any_of),
    )
    for kind in REGISTRY.values()
}


def read_data(event_type: str, data: bytes) -> Data | Complaint:
    """The documented keys of the ``data`` of a built-in ``event_type``, or the first problem with it."""
    try:
        decoded = _decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        what, _, where = str(error).partition(" - at `$")
        return Complaint(f"data{where.rstrip('`')}", what)
    required, values, any_of = _CHECKS[event_type]
    for path, get in required:
        if get(decoded) in (None, ""):
            return Complaint(f"data.{path}", f"is required for {event_type}")
    for path, get, allowed in values:
        if get(decoded) not in allowed:
            return Complaint(f"data.{path}", f"must be {' or '.join(map(repr, allowed))} for {event_type}")
    if any_of and not any(get(decoded) for _, get in any_of):
        return Complaint(
            f"data.{any_of[0][0]}",
            f"{event_type} needs content here, or in {' or '.join(REGISTRY[event_type].any_of[1:])}",
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
        reply_to_id = _kept(reply_to.message_id if reply_to else None)
        return About(
            *((_kept(message.id), reply_to_id, _kept(message.external_id)) if message else (None, reply_to_id, None))
        )
    try:
        fields = _fields_of.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        return Complaint("data", f"must be a JSON object: {error}")
    return About(
        _text_in(fields, "message", "id"),
        _text_in(fields, "reply_to", "message_id"),
        _text_in(fields, "message", "external_id"),
    )


def _text_in(fields: Mapping[str, msgspec.Raw], name: str, inner: str) -> str | None:
    try:
        return _kept(_text_of.decode(_fields_of.decode(fields.get(name, b"{}")).get(inner, b'""')))
    except (msgspec.DecodeError, RecursionError):
        return None


def _kept(message_id: str | None) -> str | None:
    return message_id if message_id and len(message_id) <= MESSAGE_ID_LENGTH_MAX else None
