"""Keyset pagination: a cursor names a row and a side of it, so that added or removed rows do not shift pages."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from service.api.cursor import read_cursor, write_cursor
from service.api.v2.refusal import INVALID_CURSOR, refusal
from service.core.endpoints.view import Resthook, ResthookEvent, Subscriber, Walk

_AFTER: Final = "a"
_BEFORE: Final = "b"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ID_MAX: Final = 2**63 - 1

Row = TypeVar("Row")
Key = TypeVar("Key")

Fetch = Callable[[Walk[Key]], Awaitable[Sequence[Row]]]
"""Reads rows in the order of the walk."""


@dataclass(frozen=True, slots=True)
class Keyset(Generic[Row, Key]):
    """How to get a row's key and write it to a cursor. ``read`` raises ValueError or OverflowError for a bad key.

    A row that is not whole is not shown; it only proves that the list continues.
    """

    of: Callable[[Row], Key]
    kinds: tuple[type, ...]
    write: Callable[[Key], tuple[str | int, ...]]
    read: Callable[..., Key]
    is_whole: Callable[[Row], bool] = lambda _: True


@dataclass(frozen=True, slots=True)
class KeysetPage(Generic[Row]):
    """Rows, and the cursors of the next and previous page."""

    rows: Sequence[Row]
    next_cursor: str | None
    previous_cursor: str | None


async def read_page(
    cursor: str, keyset: Keyset[Row, Key], fetch: Fetch[Key, Row], size: int, *, is_descending: bool = True
) -> KeysetPage[Row]:
    """Read the page at ``cursor``, the first one if it is empty. Raises ``RefusalError`` (404) for a bad cursor."""
    side, key = _read(cursor, keyset) if cursor else (_AFTER, None)
    is_backwards = side == _BEFORE
    # One row more than the page, to learn whether more follow.
    found = await fetch(Walk(key, is_descending != is_backwards, size + 1))
    if is_backwards and not found:  # no rows before the cursor are left: show the first page
        return await read_page("", keyset, fetch, size, is_descending=is_descending)
    rows = list(takewhile(keyset.is_whole, found[:size]))
    has_more = len(found) > len(rows)
    if is_backwards:
        rows.reverse()
    has_next = bool(rows) and (is_backwards or has_more)
    has_previous = bool(rows) and (has_more if is_backwards else key is not None)
    return KeysetPage(
        rows,
        write_cursor(_AFTER, *keyset.write(keyset.of(rows[-1]))) if has_next else None,
        write_cursor(_BEFORE, *keyset.write(keyset.of(rows[0]))) if has_previous else None,
    )


def _read(cursor: str, keyset: Keyset[Any, Key]) -> tuple[str, Key]:
    parts = read_cursor(cursor, str, *keyset.kinds)
    if parts is None or parts[0] not in {_AFTER, _BEFORE}:
        raise refusal(404, INVALID_CURSOR)
    try:
        return parts[0], keyset.read(*parts[1:])
    except (ValueError, OverflowError):
        raise refusal(404, INVALID_CURSOR) from None


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _at_and_slug(microseconds: int, slug: str) -> tuple[datetime, str]:
    if "\0" in slug:
        raise ValueError("a slug cannot contain NUL")
    return _EPOCH + timedelta(microseconds=microseconds), slug


def _at_and_id(microseconds: int, number: int) -> tuple[datetime, int]:
    if not 0 <= number <= _ID_MAX:
        raise ValueError("the id is out of range")
    return _EPOCH + timedelta(microseconds=microseconds), number


RESTHOOKS: Final[Keyset[Resthook, tuple[datetime, str]]] = Keyset(
    of=lambda row: (row.modified_at, row.slug),
    kinds=(int, str),
    write=lambda key: (_microseconds(key[0]), key[1]),
    read=_at_and_slug,
)
SUBSCRIBERS: Final[Keyset[Subscriber, tuple[datetime, int]]] = Keyset(
    of=lambda row: (row.created_at, row.id),
    kinds=(int, int),
    write=lambda key: (_microseconds(key[0]), key[1]),
    read=_at_and_id,
)
EVENTS: Final[Keyset[ResthookEvent, UUID]] = Keyset(
    of=lambda row: row.uid,
    kinds=(str,),
    write=lambda key: (key.hex,),
    read=UUID,
    is_whole=lambda row: row.body is not None,
)
