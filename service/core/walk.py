"""How a list is read page by page, in either direction."""

from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Walk(Generic[Key]):
    """A page of a list: at most ``limit`` rows next to the key ``beside`` (None: from the list's start or end)."""

    limit: int
    beside: Key | None = None
    is_descending: bool = True
