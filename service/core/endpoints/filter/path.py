"""Paths: which value of an event is meant. Keys joined by dots, from the top of the envelope: ``data.message.id``.

A path goes through objects only: it never enters a list, and a key that itself holds a dot cannot be reached. A missing
value reads as null, just as a documented key is null when unknown.
"""

from collections.abc import Mapping
from typing import Any, Final

PATH_CHARACTERS_MAX: Final = 256
PATH_KEYS_MAX: Final = 16

Path = tuple[str, ...]


def read_path(text: str) -> Path | str:
    """The keys of a path, or why it is none."""
    keys = tuple(text.split("."))
    if len(text) > PATH_CHARACTERS_MAX or len(keys) > PATH_KEYS_MAX:
        return f"a path may have at most {PATH_CHARACTERS_MAX} characters and {PATH_KEYS_MAX} keys"
    if not all(keys) or not is_storable(text):
        return "a path must be keys joined by single dots, such as data.message.id"
    return keys


def value_at(envelope: Mapping[str, Any], path: Path) -> object:
    """The value at ``path``; None if there is none."""
    value: Any = envelope.get(path[0])
    for key in path[1:]:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store it: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
