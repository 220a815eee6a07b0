"""A list as a file, read page by page: nothing is held but a page, and the client's pace is ours."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, assert_never, get_args

import msgspec
from pydantic import BaseModel

from service.api.errors import ApiError, Code
from service.api.lists.page import LIMIT_MAX, Format, PageQuery
from service.api.one_line import on_one_line
from service.core.csv_line import csv_line
from service.ports.errors import UnavailableError

ROWS_MAX: Final = 50_000
"""In one export without a ``limit``."""
SECONDS_MAX: Final = 40.0
"""After which no further page is read: a connection waits 60 seconds for us."""

CONTENT_TYPES: Final = {Format.CSV: "text/csv; charset=utf-8; header=present", Format.JSONL: "application/x-ndjson"}

ReadPage = Callable[[PageQuery], Awaitable[bytes]]
"""Reads the page that the query asks for, as JSON."""


class _Listed(msgspec.Struct):
    data: list[msgspec.Raw]
    next_cursor: str | None = None


_page_of: Final = msgspec.json.Decoder(_Listed)
_fields_of: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL: Final = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class Export:
    """A file that is being made: ``chunks`` are its bytes, and raise what reading the list raises."""

    name: str
    content_type: str
    chunks: AsyncGenerator[bytes, None]


def make_export(name: str, page: type[BaseModel], query: PageQuery, read: ReadPage, at: datetime) -> Export:
    """The export of the list that is called ``name`` and has pages of this model, asked for ``at`` a time."""
    clock = asyncio.get_running_loop().time
    stem = f"{name}-{at:%Y%m%dT%H%M%SZ}"
    columns = columns_of(page)
    ends_at = clock() + SECONDS_MAX
    chunks = _chunks(query, columns, read, lambda: clock() < ends_at)
    return Export(f"{stem}.{query.format}", CONTENT_TYPES[query.format], chunks)


def columns_of(page: type[BaseModel]) -> Sequence[str]:
    """The columns of a list as CSV: the fields of its items, in the order of their documentation."""
    (item,) = get_args(page.model_fields["data"].annotation)
    return [field.alias or name for name, field in item.model_fields.items()]


async def _chunks(
    query: PageQuery, columns: Sequence[str], read: ReadPage, has_time: Callable[[], bool]
) -> AsyncGenerator[bytes, None]:
    """The file, a chunk for each page. It ends with where to go on, unless it is complete.

    Errors of the first page are raised. Later ones that pass, such as a budget that is used up, end the file early.
    """
    rows_left = query.limit if "limit" in query.model_fields_set else ROWS_MAX
    cursor, is_begun = query.cursor, False
    while True:
        changes = {"format": Format.JSON, "limit": min(LIMIT_MAX, rows_left), "cursor": cursor}
        try:
            page = _page_of.decode(await read(query.model_copy(update=changes)))
        except (ApiError, UnavailableError) as error:
            if is_begun and _passes(error):
                break
            raise
        head = b"" if is_begun else _head(query.format, columns)
        yield head + b"".join(_line(query.format, columns, row) for row in page.data)
        is_begun, cursor, rows_left = True, page.next_cursor, rows_left - len(page.data)
        if cursor is None:
            return
        if rows_left <= 0 or not has_time():
            break
    yield _go_on(query.format, columns, cursor)


def _passes(error: Exception) -> bool:
    return not isinstance(error, ApiError) or error.code is Code.RATE_LIMIT_EXCEEDED


def _head(kind: Format, columns: Sequence[str]) -> bytes:
    return csv_line(columns).encode() if kind is Format.CSV else b""


def _line(kind: Format, columns: Sequence[str], row: msgspec.Raw) -> bytes:
    match kind:
        case Format.CSV:
            fields = _fields_of.decode(row)
            return csv_line(fields.get(name, _NULL) for name in columns).encode()
        case Format.JSON | Format.JSONL:
            return on_one_line(bytes(row)) + b"\n"
        case _:
            assert_never(kind)


def _go_on(kind: Format, columns: Sequence[str], cursor: str | None) -> bytes:
    """The last line of a file that is not complete."""
    if kind is Format.CSV:
        cells: list[Any] = [f"# there is more: go on with cursor={cursor}", *[None] * (len(columns) - 1)]
        return csv_line(cells).encode()
    return msgspec.json.encode({"next_cursor": cursor}) + b"\n"
