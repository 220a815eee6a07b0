"""Keyset pagination: a page lies on one side of a row, so that added or removed rows do not shift it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final, Generic, TypeVar

from service.core.walk import Walk

Row = TypeVar("Row")
Key = TypeVar("Key")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

Fetch = Callable[[Walk[Key]], Awaitable[Sequence[Row]]]
"""Reads rows in the order of the walk."""


@dataclass(frozen=True, slots=True)
class Keyset(Generic[Row, Key]):
    """How to get a row's key and write it to a cursor. ``read`` raises ValueError or OverflowError for a bad key.

    A row that is not whole is not shown: it ends the page, and proves that the list continues. If it ``is_reached``,
    the list was read as far as its key, and continues there; else it does after the row before.
    """

    of: Callable[[Row], Key]
    kinds: tuple[type, ...]
    write: Callable[[Key], tuple[str | int, ...]]
    read: Callable[..., Key]
    is_whole: Callable[[Row], bool] = lambda _: True
    is_reached: Callable[[Row], bool] = lambda _: False


@dataclass(frozen=True, slots=True)
class Place(Generic[Key]):
    """Where a page lies: after the row with this key (None: at the list's start), or before it."""

    key: Key | None = None
    is_before: bool = False


@dataclass(frozen=True, slots=True)
class Found(Generic[Row, Key]):
    """Rows in the order of the list, and where the next and the previous page lie, None without one."""

    rows: Sequence[Row]
    following: Place[Key] | None
    previous: Place[Key] | None


async def read_page(
    place: Place[Key], keyset: Keyset[Row, Key], fetch: Fetch[Key, Row], size: int, *, is_descending: bool = True
) -> Found[Row, Key]:
    """Read the page at ``place``."""
    # One row more than the page, to learn whether more follow.
    found = await fetch(Walk(size + 1, place.key, is_descending != place.is_before))
    if place.is_before and not found:  # no rows before it are left: show the first page
        return await read_page(Place(), keyset, fetch, size, is_descending=is_descending)
    rows = list(takewhile(keyset.is_whole, found[:size]))
    ends = [keyset.of(row) for row in (rows[:1] + rows[-1:])]
    if len(rows) < min(size, len(found)) and keyset.is_reached(found[len(rows)]):
        ends = [*ends[:1], keyset.of(found[len(rows)])]
    elif not rows and place.key is not None:
        ends = [place.key]  # the list ended behind it, so there is only the way back
    is_first, is_last = place.key is None, len(found) == len(rows)
    if place.is_before:
        rows.reverse()
        ends.reverse()
        is_first, is_last = is_last, False
    return Found(
        rows,
        Place(ends[-1]) if ends and not is_last else None,
        Place(ends[0], is_before=True) if ends and not is_first else None,
    )


def to_microseconds(at: datetime) -> int:
    """The time as a cursor holds it."""
    return (at - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """What ``to_microseconds`` was given; raises OverflowError for what no datetime can hold."""
    return _EPOCH + timedelta(microseconds=microseconds)
