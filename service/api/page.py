"""Paginated lists: ``{"data": […], "has_more": …, "next_cursor": …}``."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from pydantic import Field

from service.api.cursor import read_cursor, write_cursor
from service.api.errors import ApiError, invalid
from service.api.validation import AnswerModel, QueryModel, is_storable
from service.ports.desk import TimeKeyset

LIMIT_MAX: Final = 200
LIMIT_DEFAULT: Final = 50

_BIGINT_MAX: Final = 2**63 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

Item = TypeVar("Item")
Row = TypeVar("Row")


class PageQuery(QueryModel):
    """Page parameters; a list with filters adds its own."""

    limit: int = Field(default=LIMIT_DEFAULT, ge=1, le=LIMIT_MAX, description="Maximum number of items.", examples=[50])
    cursor: str | None = Field(
        default=None, description="The `next_cursor` of the previous page; omit it for the first page."
    )


class Page(AnswerModel, Generic[Item]):
    """One page of a list."""

    data: list[Item]
    has_more: bool = Field(description="Whether there is another page.")
    next_cursor: str | None = Field(description="Pass it as `cursor` to get the next page; null on the last one.")


def keyset_of(query: PageQuery, *kinds: type) -> tuple[Any, ...] | None:
    """Decode the query's cursor into parts of these types; None for the first page. Raises ``ApiError`` (400)."""
    if query.cursor is None:
        return None
    parts = read_cursor(query.cursor, *kinds)
    if parts is None or not all(map(_can_be_bound, parts)):
        raise bad_cursor()
    return parts


def time_keyset_of(query: PageQuery) -> TimeKeyset | None:
    """Decode the cursor of a list that is ordered by time; None for the first page. Raises ``ApiError`` (400)."""
    parts = keyset_of(query, int, str)
    if parts is None:
        return None
    try:
        return _EPOCH + parts[0] * _MICROSECOND, parts[1]
    except OverflowError:
        raise bad_cursor() from None


def page_by_time(
    found: Sequence[Row], limit: int, place: Callable[[Row], TimeKeyset]
) -> tuple[Sequence[Row], str | None]:
    """The rows of a page, and the cursor of the next one (None at the end). One row more was asked for."""
    shown = found[:limit]
    if len(found) == len(shown):
        return shown, None
    at, last_id = place(shown[-1])
    return shown, write_cursor((at - _EPOCH) // _MICROSECOND, last_id)


def bad_cursor() -> ApiError:
    """A cursor that this list did not issue (400)."""
    return invalid("the query is not valid", {"cursor": ["must be the next_cursor of an earlier page, unchanged"]})


def _can_be_bound(part: object) -> bool:
    if isinstance(part, int):
        return -_BIGINT_MAX <= part <= _BIGINT_MAX
    return not isinstance(part, str) or is_storable(part)
