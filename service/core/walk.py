"""How a list is read page by page, in either direction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Walk(Generic[Key]):
    """A page of a list: at most ``limit`` rows next to the key ``beside`` (None: from the list's start or end)."""

    limit: int
    beside: Key | None = None
    is_descending: bool = True


@dataclass(frozen=True, slots=True)
class Stretch(Generic[Row, Key]):
    """The rows that a walk found.

    Where finding ``limit`` of them would have taken too long, ``reached`` is how far it came: the walk goes on beside
    that key. Else it is None, and with fewer rows than ``limit`` the list has ended.
    """

    rows: Sequence[Row]
    reached: Key | None = None
