"""Lists, a page at a time: ``{"data": […], "has_more": …, "next_cursor": …}``, newest first."""

from typing import Any, Final, Generic, TypeVar

from pydantic import Field

from service.api.cursor import read_cursor
from service.api.errors import ApiError, invalid
from service.api.validation import AnswerModel, QueryModel, is_storable

LIMIT_MAX: Final = 200
LIMIT_DEFAULT: Final = 50

_BIGINT_MAX: Final = 2**63 - 1

Item = TypeVar("Item")


class PageQuery(QueryModel):
    """Which page. A list with filters adds them to these."""

    limit: int = Field(default=LIMIT_DEFAULT, ge=1, le=LIMIT_MAX, description="How many at most.", examples=[50])
    cursor: str | None = Field(
        default=None, description="Where to go on: the `next_cursor` of the page before, as it was."
    )


class Page(AnswerModel, Generic[Item]):
    """One page of a list."""

    data: list[Item]
    has_more: bool = Field(description="Whether there is another page.")
    next_cursor: str | None = Field(description="Asks for the next page; null on the last one.")


def keyset_of(query: PageQuery, *kinds: type) -> tuple[Any, ...] | None:
    """The parts of the query's cursor, which are of these kinds; None for the first page. Raises ``ApiError`` (400)."""
    if query.cursor is None:
        return None
    parts = read_cursor(query.cursor, *kinds)
    if parts is None or not all(map(_can_be_bound, parts)):
        raise bad_cursor()
    return parts


def bad_cursor() -> ApiError:
    """The cursor is none of ours (400)."""
    return invalid("the query is not valid", {"cursor": ["must be the next_cursor of an earlier page, as it was"]})


def _can_be_bound(part: object) -> bool:
    if isinstance(part, int):
        return -_BIGINT_MAX <= part <= _BIGINT_MAX
    return not isinstance(part, str) or is_storable(part)
