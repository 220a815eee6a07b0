"""Output of commands: results on stdout (with --json exactly one document), all else on stderr, exit codes."""

import json
import sys
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from service.core.suggestion import did_you_mean
from service.core.timestamp import format_timestamp

OK: Final = 0
FAILED: Final = 1
BAD_USAGE: Final = 2

EXIT_CODES: Final = "Exit codes: 0 done; 1 failed; 2 wrong usage or settings; 130 interrupted."

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]

_ESCAPES: Final = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *range(0xD800, 0xE000))}
"""``json.dumps`` escapes the controls below U+0020 only. Surrogates that are left in a text are halves of pairs."""


class CommandError(Exception):
    """Ends the command: its text goes to stderr, ``exit_code`` to the shell."""

    def __init__(self, text: str, exit_code: int = FAILED) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def print_json(document: object) -> None:
    """Print one JSON document; times are ISO 8601 with six fractional digits and a Z."""
    sys.stdout.write(json_text(document, indent=2) + "\n")


def json_text(document: object, *, indent: int | None = None) -> str:
    """JSON with its letters readable, and nothing in it that controls a terminal or that UTF-8 cannot write."""
    return json.dumps(document, indent=indent, ensure_ascii=False, default=_plain).translate(_ESCAPES)


def print_line(text: str) -> None:
    """Print one line of the result."""
    sys.stdout.write(text + "\n")


def tell(text: str) -> None:
    """Print a message for a person on stderr."""
    sys.stderr.write(text + "\n")


def print_fields(fields: Mapping[str, object]) -> None:
    """Print names and values, one per line."""
    lines = [(shown(name), shown(value)) for name, value in fields.items()]
    width = max((len(name) for name, _ in lines), default=0)
    for name, value in lines:
        print_line(f"{name:<{width}}  {value}")


def split_names(text: str) -> tuple[str, ...]:
    """Split a comma-separated list; duplicates are dropped."""
    return tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))


def known_names(text: str, known: Collection[str], what: str) -> tuple[str, ...]:
    """Read a comma-separated list of known names. Raises ``CommandError`` for the first unknown one."""
    names = split_names(text)
    if not names:
        raise CommandError(f"give at least one {what}: {', '.join(known)}", BAD_USAGE)
    for name in names:
        if name not in known:
            raise CommandError(
                f"unknown {what} {name!r}{did_you_mean(name, known) or '.'} Known: {', '.join(known)}", BAD_USAGE
            )
    return names


def _plain(value: object) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, datetime):
        return format_timestamp(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def shown(value: object) -> str:
    """Format a value for people, on one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return format_timestamp(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value)) or "-"
    # Text from outside (a URL, a reply) must not control the terminal.
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in str(value))
