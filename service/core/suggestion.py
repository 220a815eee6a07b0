"""What somebody who mistyped a name may have meant."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Final

NAME_CHARACTERS_MAX: Final = 64
"""Comparing takes time in the square of a name's length, and names come from anybody."""


def did_you_mean(name: str, known: Collection[str]) -> str:
    """``; did you mean 'x'?``, or nothing when nothing is near."""
    close = get_close_matches(name[:NAME_CHARACTERS_MAX], sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
