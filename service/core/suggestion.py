"""Suggestions for mistyped names."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Final

NAME_CHARACTERS_MAX: Final = 64
"""Comparison time grows with the square of the name's length, and callers choose the names."""


def did_you_mean(name: str, known: Collection[str]) -> str:
    """``; did you mean 'x'?`` for the closest known name, or "" when none is close."""
    close = get_close_matches(name[:NAME_CHARACTERS_MAX], sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
