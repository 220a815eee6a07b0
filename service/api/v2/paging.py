"""The cursors of ``/api/v2``: each names a row and a side of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from service.api.lists import keyset
from service.api.lists.cursor import read_cursor, write_cursor
from service.api.lists.keyset import Fetch, Keyset, Place, from_microseconds, to_microseconds
from service.api.v2.refusal import INVALID_CURSOR, refusal
from service.core.endpoints.view import Resthook, ResthookEvent, Subscriber

_AFTER: Final = "a"
_BEFORE: Final = "b"
_ID_MAX: Final = 2**63 - 1

Row = TypeVar("Row")
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class KeysetPage(Generic[Row]):
    """Rows, and the cursors of the next and previous page."""

    rows: Sequence[Row]
    next_cursor: str | None
    previous_cursor: str | None


async def read_page(
    cursor: str, of: Keyset[Row, Key], fetch: Fetch[Key, Row], size: int, *, is_descending: bool = True
) -> KeysetPage[Row]:
    """Read the page at ``cursor``, the first one if it is empty. Raises ``RefusalError`` (404) for a bad cursor."""
    place: Place[Key] = _read(cursor, of) if cursor else Place()
    found = await keyset.read_page(place, of, fetch, size, is_descending=is_descending)
    return KeysetPage(found.rows, _write(found.following, of), _write(found.previous, of))


def _write(place: Place[Key] | None, of: Keyset[Any, Key]) -> str | None:
    if place is None or place.key is None:
        return None
    return write_cursor(_BEFORE if place.is_before else _AFTER, *of.write(place.key))


def _read(cursor: str, of: Keyset[Any, Key]) -> Place[Key]:
    parts = read_cursor(cursor, str, *of.kinds)
    if parts is None or parts[0] not in {_AFTER, _BEFORE}:
        raise refusal(404, INVALID_CURSOR)
    try:
        return Place(of.read(*parts[1:]), is_before=parts[0] == _BEFORE)
    except (ValueError, OverflowError):
        raise refusal(404, INVALID_CURSOR) from None


def _at_and_slug(microseconds: int, slug: str) -> tuple[datetime, str]:
    if "\0" in slug:
        raise ValueError("a slug cannot contain NUL")
    return from_microseconds(microseconds), slug


def _at_and_id(microseconds: int, number: int) -> tuple[datetime, int]:
    if not 0 <= number <= _ID_MAX:
        raise ValueError("the id is out of range")
    return from_microseconds(microseconds), number


RESTHOOKS: Final[Keyset[Resthook, tuple[datetime, str]]] = Keyset(
    of=lambda row: (row.modified_at, row.slug),
    kinds=(int, str),
    write=lambda key: (to_microseconds(key[0]), key[1]),
    read=_at_and_slug,
)
SUBSCRIBERS: Final[Keyset[Subscriber, tuple[datetime, int]]] = Keyset(
    of=lambda row: (row.created_at, row.id),
    kinds=(int, int),
    write=lambda key: (to_microseconds(key[0]), key[1]),
    read=_at_and_id,
)
EVENTS: Final[Keyset[ResthookEvent, UUID]] = Keyset(
    of=lambda row: row.uid,
    kinds=(str,),
    write=lambda key: (key.hex,),
    read=UUID,
    is_whole=lambda row: row.body is not None,
)
