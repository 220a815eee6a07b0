"""Lines that follow each other, and below them one that stays: what was counted, and which keys there are."""

import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.text import Text

from service.cli.live.lines import Lines
from service.cli.terminal import json_text, shown

_ERASE: Final = "\r\x1b[K\x1b[A\x1b[K"  # this line and the empty one above it


class Screen:
    """Results go to standard output, notices to standard error. ``has_status``: both are terminals, and keys work."""

    def __init__(self, *, as_json: bool = False) -> None:
        self._out = Console(highlight=False, emoji=False, markup=False)
        self._err = Console(highlight=False, emoji=False, markup=False, stderr=True)
        self._as_json = as_json
        self._status: Text | None = None
        self.has_status = not as_json and all(each.isatty() for each in (sys.stdin, sys.stdout, sys.stderr))

    def result(self, record: Mapping[str, object], laid_out: Callable[[Lines], Iterable[Text]]) -> None:
        """Print one result: for scripts the record, for people its lines."""
        if self._as_json:
            self._record(record)
        else:
            self._print(self._out, laid_out(self._lines()))

    def heading(self, lines: Iterable[Text], record: Mapping[str, object]) -> None:
        """Print what the reader should know first."""
        if self._as_json:
            self._record(record)
        else:
            self._print(self._err, lines)

    def news(self, record: Mapping[str, object], sentence: str | None) -> None:
        """Print what happened meanwhile, unless it is of no interest to people."""
        if self._as_json:
            self._record(record)
        elif sentence is not None:
            self.notice(sentence)

    def notice(self, sentence: str) -> None:
        """Print a sentence with the time."""
        self._print(self._err, [Text(f"{datetime.now().astimezone():%H:%M:%S}  {shown(sentence)}", "yellow")])

    def _lines(self) -> Lines:
        """The layout for the terminal as wide as it is now; without a terminal each is one line."""
        encoding = sys.stdout.encoding or "ascii"
        width = self._out.width if self._out.is_terminal else sys.maxsize
        return Lines(width, is_ascii=not encoding.lower().startswith("utf"))

    def _record(self, record: Mapping[str, object]) -> None:
        sys.stdout.write(json_text(record) + "\n")
        sys.stdout.flush()

    def stay(self, left: Text, right: Text) -> None:
        """The line that stays, from now on."""
        self._erase()
        room = self._out.width - left.cell_len - right.cell_len - 1
        self._status = Text.assemble(left, " " * room, right) if room > 0 else left
        self._draw()

    def close(self) -> None:
        """Leave the last line where it is, and end it."""
        if self._status is not None:
            self._out.file.write("\n")
            self._out.file.flush()
            self._status = None

    def redraw(self) -> None:
        """Draw the last line again, after something else used the terminal."""
        self._draw()

    def _print(self, console: Console, lines: Iterable[Text]) -> None:
        self._erase()
        for line in lines:
            console.print(line.plain if console.no_color else line, soft_wrap=True)
        console.file.flush()
        self._draw()

    def _erase(self) -> None:
        if self._status is not None:
            self._out.file.write(_ERASE)
            self._out.file.flush()

    def _draw(self) -> None:
        if self._status is not None:
            status = self._status.copy()
            status.truncate(self._out.width - 1)
            self._out.file.write("\n")
            self._out.print(status.plain if self._out.no_color else status, end="", soft_wrap=True)
            self._out.file.flush()
