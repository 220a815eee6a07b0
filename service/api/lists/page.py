"""Paginated lists: ``{"data": […], "has_more": …, "next_cursor": …, "prev_cursor": …}``."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Generic, Literal, TypedDict, TypeVar

import msgspec
from pydantic import Field, WithJsonSchema

from service.api.errors import ApiError, invalid
from service.api.lists import keyset
from service.api.lists.cursor import read_cursor, write_cursor
from service.api.lists.keyset import Fetch, Keyset, Place, from_microseconds, to_microseconds
from service.api.validation import AnswerModel, QueryModel, is_storable
from service.core.field_code import FieldCode, FieldSentence
from service.ports.desk import TimeKeyset

LIMIT_MAX: Final = 200
LIMIT_DEFAULT: Final = 50

_BIGINT_MAX: Final = 2**63 - 1
_BEFORE: Final = "b"
"""The last part of a cursor that leads back."""

Item = TypeVar("Item")
Row = TypeVar("Row")
Key = TypeVar("Key")


class Format(StrEnum):
    """How a list is answered."""

    JSON = "json"
    CSV = "csv"
    JSONL = "jsonl"


FormatAsked = Annotated[Format, WithJsonSchema({"type": "string", "enum": [each.value for each in Format]})]


class PageQuery(QueryModel):
    """Page parameters; a list with filters adds its own."""

    limit: int = Field(default=LIMIT_DEFAULT, ge=1, le=LIMIT_MAX, description="Maximum number of items.", examples=[50])
    cursor: str | None = Field(
        default=None, description="The `next_cursor` of the previous page; omit it for the first page."
    )
    format: FormatAsked = Field(
        default=Format.JSON,
        description="`csv` or `jsonl` (JSON lines): the list as a file, read on to its end, at most 50,000 rows or as "
        "many as `limit` says. The answer is then not the JSON that is described here.",
        examples=["json"],
    )


class OrderedQuery(PageQuery):
    """Page parameters of a list that is read in both directions."""

    cursor: str | None = Field(
        default=None, description="The `next_cursor` or `prev_cursor` of another page; omit it for the first page."
    )
    order: Literal["asc", "desc"] = Field(
        default="desc", description="`desc`: the newest first; `asc`: the oldest. The same for all pages of a list."
    )


MORE: Final = Field(description="Whether there is another page.")
NEXT: Final = Field(description="Pass it as `cursor` to get the next page; null on the last one.")
PREVIOUS: Final = Field(description="Pass it as `cursor` to get the page before; null on the first one.")


class Page(AnswerModel, Generic[Item]):
    """One page of a list."""

    data: list[Item]
    has_more: bool = MORE
    next_cursor: str | None = NEXT
    prev_cursor: str | None = PREVIOUS


class Links(TypedDict):
    """What a page says of its neighbours."""

    has_more: bool
    next_cursor: str | None
    prev_cursor: str | None


@dataclass(frozen=True, slots=True)
class Read(Generic[Row]):
    """The rows of a page, and its links."""

    rows: Sequence[Row]
    links: Links


async def read_page(query: OrderedQuery, of: Keyset[Row, Key], fetch: Fetch[Key, Row]) -> Read[Row]:
    """Read the page that the query asks for. Raises ``ApiError`` (400) for a bad cursor."""
    place = _place_of(query, of)
    found = await keyset.read_page(place, of, fetch, query.limit, is_descending=query.order == "desc")
    following = _write(found.following, of)
    links = Links(has_more=following is not None, next_cursor=following, prev_cursor=_write(found.previous, of))
    return Read(found.rows, links)


def page_of_json(items: Iterable[bytes], links: Links) -> str:
    """A page whose items are JSON already."""
    return (b'{"data":[%b],%b' % (b",".join(items), msgspec.json.encode(links)[1:])).decode()


def by_time(of: Callable[[Row], TimeKeyset]) -> Keyset[Row, TimeKeyset]:
    """The keyset of a list that is ordered by a time, and by an id where times are the same."""
    return Keyset(
        of=of,
        kinds=(int, str),
        write=lambda key: (to_microseconds(key[0]), key[1]),
        read=lambda microseconds, last_id: (from_microseconds(microseconds), last_id),
    )


def _place_of(query: PageQuery, of: Keyset[Any, Key]) -> Place[Key]:
    if query.cursor is None:
        return Place()
    parts, is_before = read_cursor(query.cursor, *of.kinds), False
    if parts is None:
        parts, is_before = read_cursor(query.cursor, *of.kinds, str), True
    if parts is None or not all(map(_can_be_bound, parts)) or (is_before and parts[-1] != _BEFORE):
        raise bad_cursor()
    try:
        return Place(of.read(*parts[: len(of.kinds)]), is_before)
    except (ValueError, OverflowError):
        raise bad_cursor() from None


def _write(place: Place[Key] | None, of: Keyset[Any, Key]) -> str | None:
    if place is None or place.key is None:
        return None
    return write_cursor(*of.write(place.key), *([_BEFORE] if place.is_before else []))


def bad_cursor() -> ApiError:
    """A cursor that this list did not issue (400)."""
    return invalid(
        "the query is not valid",
        {
            "cursor": [
                FieldSentence("must be the next_cursor or prev_cursor of another page, unchanged", FieldCode.WRONG_FORM)
            ]
        },
    )


def _can_be_bound(part: object) -> bool:
    if isinstance(part, int):
        return -_BIGINT_MAX <= part <= _BIGINT_MAX
    return not isinstance(part, str) or is_storable(part)
