"""A line of CSV (RFC 4180), in which no spreadsheet finds a formula."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from service.core.timestamp import format_timestamp

_QUOTED: Final = re.compile('[",\r\n]')
_FORMULA: Final = (
    *("=", "+", "-", "@", "\t", "\r", "\n"),
    *"\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}",
)
"""Some spreadsheets read the wide forms as the narrow ones."""
_ANYTHING: Final = msgspec.json.Decoder()


def csv_line(values: Iterable[object]) -> str:
    """The values as a line: texts as they are, times and numbers as in our JSON, null as nothing, all else as JSON.

    A text that a spreadsheet would take for a formula gets an apostrophe before it; numbers do not, as they compute
    nothing. ``msgspec.Raw`` is JSON, of which numbers keep their notation.
    """
    return ",".join(map(_cell, values)) + "\r\n"


def _cell(value: object) -> str:
    text = _text(value)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case str():
            return f"'{value}" if value.startswith(_FORMULA) else value
        case datetime():
            return format_timestamp(value)
        case msgspec.Raw():
            written = bytes(value)
            return _text(_ANYTHING.decode(written)) if written[:1] in {b'"', b"n"} else written.decode()
        case _:  # true and false, too
            return msgspec.json.encode(value).decode()
