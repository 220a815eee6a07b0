"""Options and arguments that several commands have, and how their values are read."""

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from service.cli.terminal import BAD_USAGE, CommandError

TIME_FORM: Final = "2026-11-20T18:00:00Z, or how long ago: 90m, 24h, 7d"
LIMIT_MAX: Final = 200

OrganizationOption = Annotated[str, typer.Option("--organization", help="The organization's id.", show_default=False)]
AnyOrganizationOption = Annotated[
    str | None,
    typer.Option("--organization", help="The organization's id; not needed with an API key.", show_default=False),
]
OldestFirstOption = Annotated[bool, typer.Option("--oldest-first", help="Oldest first.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
LimitOption = Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="Maximum number to show.")]
CursorOption = Annotated[str | None, typer.Option(help="Continue an earlier list: its next_cursor.")]

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_AGO: Final = re.compile(r"([1-9][0-9]{0,5})([mhd])")


def time_of(text: str, option: str) -> datetime:
    """Read a time, or how long ago it was. Raises ``CommandError`` that names the option."""
    ago = _AGO.fullmatch(text)
    try:
        given = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])}) if ago else datetime.fromisoformat(text)
        at = given.astimezone(UTC) if given.tzinfo is not None else None
    except (ValueError, OverflowError):
        at = None
    if at is None:
        raise CommandError(f"{option}: {text!r} is not a time with an offset: {TIME_FORM}.", BAD_USAGE)
    return at


def written_time(text: str | None, option: str) -> str | None:
    """The same as a parameter of the API; None for None."""
    from service.core.timestamp import format_timestamp

    return None if text is None else format_timestamp(time_of(text, option))


def order_of(*, is_ascending: bool) -> dict[str, str | None]:
    """The parameter that turns a list round."""
    return {"order": "asc" if is_ascending else None}


def of(organization_id: str | None) -> tuple[str, ...]:
    """The words that name it in another command; none if none was named."""
    return ("--organization", organization_id) if organization_id is not None else ()


def named(organization_id: str | None) -> str:
    """The organization, beside the database. Raises ``CommandError`` if none was named."""
    if organization_id is None:
        raise CommandError("--organization is required without an API key.", BAD_USAGE)
    return organization_id


def read_json(path: Path, option: str) -> Any:  # noqa: ANN401 - any JSON value
    """The JSON in a file; - is standard input. Raises ``CommandError`` that names the option, without quoting it."""
    try:
        return json.loads(sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"{option}: {path}: {error.strerror}.", BAD_USAGE) from None
    except (ValueError, RecursionError):  # its text may quote a secret
        raise CommandError(f"{option}: {path} is not JSON in UTF-8.", BAD_USAGE) from None


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone. Raises ``CommandError`` where nobody can answer, or who says no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Add --yes to do it.", BAD_USAGE)
    if not typer.confirm(question, err=True):
        raise CommandError("Nothing was changed.")
