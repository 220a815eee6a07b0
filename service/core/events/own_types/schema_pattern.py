"""A ``pattern`` of a tenant's schema, on RE2: a search takes time in proportion to pattern and text, never more.

RE2 has no look-around and no back references, which are what makes other engines run away.
"""

import re
from functools import lru_cache
from typing import Any, Final

import re2

PATTERN_LENGTH_MAX: Final = 256
TEXT_LENGTH_MAX: Final = 256
"""A text longer than this matches no pattern."""
SIZE_MAX: Final = 3_000
r"""Of a pattern's program, which repetitions unroll: ``[a-z]{100}`` has about 100, ``\p{L}`` 1,200."""
_MEMORY_BYTES_MAX: Final = 128 * 1024
"""For a pattern's program, and for what RE2 remembers of its searches; beyond that they are slower, but linear."""
_COUNT_MAX: Final = TEXT_LENGTH_MAX + 1
_CELLS_PER_STEP: Final = 2_000
"""How many instructions, each held against one byte, take as long as one step of the budget: some 20 microseconds."""

_ESCAPE: Final = r"\\(?:u(?P<code>[0-9a-fA-F]{4})|(?P<escaped>.))"
_IN_CLASS: Final = re.compile(_ESCAPE, re.DOTALL)
_PART: Final = re.compile(
    rf"(?P<class>\[\^?\]?(?:\\.|[^\]\\])*\])|{_ESCAPE}|\{{(?P<least>[0-9]+)(?P<comma>,?)(?P<most>[0-9]*)\}}", re.DOTALL
)


def pattern_problem(pattern: str) -> str | None:
    """Why a schema cannot have this pattern, or None."""
    if len(pattern) > PATTERN_LENGTH_MAX:
        return f"a pattern may have at most {PATTERN_LENGTH_MAX} characters"
    try:
        size = pattern_size(pattern)
    except (re2.error, UnicodeError) as error:
        why = error.args[0].decode(errors="replace") if isinstance(error, re2.error) else "it has half a character"
        return f"is no pattern that RE2 can search for: {why}"
    return f"unrolls to {size} instructions; the limit is {SIZE_MAX}" if size > SIZE_MAX else None


def pattern_size(pattern: str) -> int:
    """How many instructions the pattern's program has. Raises ``re2.error``, ``UnicodeError``."""
    return int(_compiled(pattern).programsize)


def search_steps(pattern: str, text: str) -> int:
    """How many steps of a budget a search in this text costs, at the most that it can take."""
    return pattern_size(pattern) * len(text[:TEXT_LENGTH_MAX].encode(errors="replace")) // _CELLS_PER_STEP


def is_found(pattern: str, text: str) -> bool:
    """Whether the pattern occurs in the text. None occurs in a long text, or in one with half of a surrogate pair."""
    if len(text) > TEXT_LENGTH_MAX:
        return False
    try:
        return _compiled(pattern).search(text) is not None
    except UnicodeError:
        return False


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:  # noqa: ANN401 - the library is not typed
    options = re2.Options()
    options.max_mem = _MEMORY_BYTES_MAX
    options.never_capture = True  # only whether it is found matters
    options.log_errors = False
    return re2.compile(_PART.sub(_translated, pattern), options)


def _translated(part: re.Match[str]) -> str:
    r"""Part of a pattern as RE2 writes it: ``\u`` is ECMAScript's, which JSON Schema follows, and ``\Z`` is Python's.

    RE2 counts to 1,000. In a text of 256 characters no more than 257 repetitions can make a difference.
    """
    if part["class"]:
        return _IN_CLASS.sub(_escape_translated, part["class"])
    if part["least"]:
        most = str(min(int(part["most"]), _COUNT_MAX)) if part["most"] else ""
        return f"{{{min(int(part['least']), _COUNT_MAX)}{part['comma']}{most}}}"
    return _escape_translated(part)


def _escape_translated(escape: re.Match[str]) -> str:
    return f"\\x{{{escape['code']}}}" if escape["code"] else r"\z" if escape["escaped"] == "Z" else escape[0]
