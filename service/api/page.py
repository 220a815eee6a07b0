"""Paginated lists: ``{"data": […], "has_more": …, "next_cursor": …}``."""

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


def bad_cursor() -> ApiError:
    """A cursor that this list did not issue (400)."""
    return invalid("the query is not valid", {"cursor": ["must be the next_cursor of an earlier page, unchanged"]})


def _can_be_bound(part: object) -> bool:
    if isinstance(part, int):
        return -_BIGINT_MAX <= part <= _BIGINT_MAX
    return not isinstance(part, str) or is_storable(part)
