"""Tables for people. An id is never wrapped: if it does not fit beside the rest, it gets its own line."""

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.text import Text

from service.cli.terminal import shown, tell
from service.core.deliveries.delivery import State

GAP: Final = "  "

_BADGES: Final = {
    State.PENDING: ("·", ".", "yellow"),
    State.LEASED: ("→", ">", "blue"),
    State.DELIVERED: ("✓", "+", "green"),
    State.DEAD: ("✗", "x", "red"),
    State.CANCELLED: ("⊘", "-", "dim"),
}
_RETRIED: Final = ("↻", "~")
_HELD: Final = ("‖", "=")


@dataclass(frozen=True, slots=True)
class Column:
    """A column. Columns with ``moves`` go below their row if the table is too wide; the last one, row by row."""

    title: str
    moves: bool = False
    is_right: bool = False


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[object]], *, nothing: str) -> None:
    """Print a table, or ``nothing`` if there are no rows. Without a terminal, each row is one line."""
    if not rows:
        tell(nothing)
        return
    console = Console(highlight=False, emoji=False)
    for line in lay_out(columns, rows, console.width if console.is_terminal else sys.maxsize):
        console.print(line.plain if console.no_color else line, soft_wrap=True, markup=False)


def lay_out(columns: Sequence[Column], rows: Sequence[Sequence[object]], width: int) -> list[Text]:
    """Return the lines of a table. Cells are ``Text``, or values that are shown without markup."""
    cells = [[cell if isinstance(cell, Text) else Text(shown(cell)) for cell in row] for row in rows]
    widths = [max(len(column.title), *(row[number].cell_len for row in cells)) for number, column in enumerate(columns)]
    last = len(columns) - 1
    if columns[last].moves:
        widths[last] = 0
    beside = list(range(len(columns)))
    while sum(widths[number] + len(GAP) for number in beside) - len(GAP) > width:
        movable = [number for number in beside if columns[number].moves and number != last]
        if not movable:
            break
        beside.remove(max(movable, key=widths.__getitem__))
    taken = sum(widths[number] + len(GAP) for number in beside if number != last)
    indent = " " * (widths[0] + len(GAP))
    titles, lines, is_last_beside = [Text(column.title.upper(), "dim") for column in columns], [], False
    for row in cells:
        fits = not columns[last].moves or taken + row[last].cell_len <= width
        is_last_beside |= fits
        here = [number for number in beside if fits or number != last]
        below = [row[number] for number in range(len(columns)) if number not in here]
        lines.append(_line(row, columns, widths, here))
        lines += _below([cell for cell in below if cell.plain not in {"", "-"}], indent, width)
    return [_line(titles, columns, widths, [each for each in beside if is_last_beside or each != last]), *lines]


def _line(cells: Sequence[Text], columns: Sequence[Column], widths: Sequence[int], beside: Sequence[int]) -> Text:
    parts = []
    for number in beside:
        part = cells[number].copy()
        part.align("right" if columns[number].is_right else "left", max(widths[number], part.cell_len))
        parts.append(part)
    line = Text(GAP).join(parts)
    line.rstrip()
    return line


def _below(cells: Sequence[Text], indent: str, width: int) -> list[Text]:
    """Lay out the moved cells: on one line if they fit, else each on its own, wrapped only between words."""
    together = Text(GAP).join([Text(cell.plain, cell.style or "dim") for cell in cells])
    if not cells or len(indent) + together.cell_len <= width:
        return [Text(indent) + together] if cells else []
    return [
        Text(line, cell.style or "dim")
        for cell in cells
        for line in textwrap.wrap(
            cell.plain,
            max(width, len(indent) + 1),
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def badge(state: str, attempts_made: int = 0, *, is_held: bool = False) -> Text:
    """A delivery's state as glyph and word; colour is never the only sign."""
    glyph, plain_glyph, style = _BADGES[State(state)]
    if state == State.PENDING and (is_held or attempts_made):
        glyph, plain_glyph = _HELD if is_held else _RETRIED
    try:
        glyph.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        glyph = plain_glyph
    return Text(f"{glyph} {state}", style)


def moment(at: datetime | None) -> str | None:
    """A time to the second, in UTC, as the column titles say."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def near(at: datetime, now: datetime, clock: str = "%H:%M:%S") -> str:
    """A time in UTC, short: only the clock if it is today, else month and day as well."""
    at, now = at.astimezone(UTC), now.astimezone(UTC)
    return at.strftime(clock if at.date() == now.date() else "%m-%d %H:%M")
