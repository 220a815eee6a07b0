"""An endpoint of another service, in our terms; and names for its event types."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from service.core.events.registry import BUILT_IN, NAME_LENGTH_MAX, is_event_type_name, is_subscribable
from service.core.events.types.operational import RESERVED_PREFIXES

FOREIGN_MAX: Final = 20_000
"""How many endpoints or subscribers one import may have: as many as an organization, by default."""

WHOLE_MAX: Final = 10**15


@dataclass(frozen=True, slots=True)
class Foreign:
    """An endpoint as another service has it.

    ``ids`` name it there. ``event_types`` are as they are called there, patterns included. ``given`` are settings by
    our names, and its ``secret``. ``differs`` are sentences about what it has there and cannot have here.
    """

    ids: tuple[str, ...]
    url: str
    event_types: tuple[str, ...]
    given: Mapping[str, Any] = field(default_factory=dict)
    is_paused: bool = False
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part of an export that is not what it should be: ``where`` in it, and why."""

    where: str
    why: str


Found = Sequence[Foreign | Unreadable]


@dataclass(frozen=True, slots=True)
class Names:
    """Our names for the event types of another service.

    ``ours`` by their names; ``new`` are those to register. ``problems`` are sentences by the names that have none.
    """

    ours: Mapping[str, str]
    new: Sequence[str]
    problems: Mapping[str, str]


def name_types(theirs: Iterable[str], own: Collection[str], asked: Mapping[str, str], prefix: str) -> Names:
    """Find a name for each: the one that was ``asked`` for, the same, or one made from it behind ``prefix``.

    ``own`` are the types that the organization has registered. Two of theirs never get the same name unasked.
    """
    ours: dict[str, str] = {}
    problems: dict[str, str] = {}
    takers: dict[str, str] = {}
    wanted = sorted(set(theirs))
    known = {*own, *(asked.get(each, each) for each in wanted if is_event_type_name(asked.get(each, each)))}
    for name in wanted:
        meant = asked.get(name) or (name if _is_usable(name, known) else _made_from(name, prefix))
        if not _is_usable(meant, known):
            problems[name] = f"{meant[:80]!r} cannot be the name of an event type, such as order.placed"
        elif meant.startswith(RESERVED_PREFIXES) and meant not in BUILT_IN and "*" not in meant:
            problems[name] = f"{meant[:80]!r} has a prefix that is reserved for operational events"
        elif name not in asked and takers.setdefault(meant, name) != name:
            problems[name] = f"would be {meant!r}, as {takers[meant]!r} would"
        else:
            ours[name] = meant
    new = {each for each in ours.values() if is_event_type_name(each) and each not in BUILT_IN and each not in own}
    return Names(ours, sorted(new), problems)


def _is_usable(name: str, known: Collection[str]) -> bool:
    return is_event_type_name(name) or is_subscribable(name, known)


def _made_from(name: str, prefix: str) -> str:
    return f"{prefix}.{re.sub('[^a-z0-9]+', '_', name.lower()).strip('_')}"[:NAME_LENGTH_MAX]


# ---------------------------------------------------------------------- reading an export


def each_object(value: object, where: str) -> Iterator[tuple[str, Mapping[str, Any]] | Unreadable]:
    """The objects of a list, each with its place in the export."""
    if not isinstance(value, list):
        yield Unreadable(where, "must be a list")
        return
    if len(value) > FOREIGN_MAX:
        yield Unreadable(where, f"has {len(value)} entries; the limit is {FOREIGN_MAX}")
        return
    for index, each in enumerate(value):
        place = f"{where}[{index}]"
        yield (place, each) if isinstance(each, dict) else Unreadable(place, "must be an object")


def read_each(value: object, where: str, read: Callable[[Mapping[str, Any]], Foreign | str]) -> Found:
    """Read every object of a list; ``read`` returns a sentence for one that cannot be read."""
    found: list[Foreign | Unreadable] = []
    for each in each_object(value, where):
        if isinstance(each, Unreadable):
            found.append(each)
            continue
        place, entry = each
        one = read(entry)
        found.append(Unreadable(place, one) if isinstance(one, str) else one)
    return found


def text_of(entry: Mapping[str, Any], *names: str) -> str:
    """The first of these that is a text and not empty; "" if none is."""
    return next((entry[name] for name in names if isinstance(entry.get(name), str) and entry[name]), "")


def whole_of(value: object) -> float | None:
    """A whole number above 0, None for anything else; one that is larger than any limit here becomes ``WHOLE_MAX``."""
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        return None
    return float(min(value, WHOLE_MAX))


def are_texts(value: object) -> bool:
    """Whether it is an object with a text for each name."""
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def texts_of(value: object) -> tuple[str, ...]:
    """The texts of a list, each once; () for anything else."""
    return tuple(dict.fromkeys(each for each in value if isinstance(each, str))) if isinstance(value, list) else ()
