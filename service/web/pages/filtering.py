"""What the filters of lists have in common: they are parameters of the page's URL, and of its operation."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from service.api.errors import invalid
from service.api.lists.page import Format
from service.core.timestamp import format_timestamp
from service.web.page import Download, Visit
from service.web.words import PERIODS

WITHIN: Final[Mapping[str, tuple[str, timedelta]]] = {
    "1h": (PERIODS["1h"], timedelta(hours=1)),
    "24h": (PERIODS["24h"], timedelta(hours=24)),
    "7d": (PERIODS["7d"], timedelta(days=7)),
    "30d": (PERIODS["30d"], timedelta(days=30)),
}
"""The times within which an event was received, as the URL names them."""
WITHIN_CHOICES: Final = [("", "any time"), *((name, words) for name, (words, _) in WITHIN.items())]


def asked(visit: Visit, *names: str) -> dict[str, str]:
    """The filters among the page's parameters: those that are given."""
    return {name: visit.query(name) for name in names if visit.query(name)}


def as_query(filters: Mapping[str, str], visit: Visit) -> dict[str, str]:
    """The same as an operation's query, with the cursor; ``within`` becomes a time."""
    query = {name: value for name, value in filters.items() if name != "within"}
    if filters.get("within") in WITHIN:
        query["since"] = format_timestamp(datetime.now(UTC) - WITHIN[filters["within"]][1])
    if visit.query("cursor"):
        query["cursor"] = visit.query("cursor")
    return query


def as_file(visit: Visit, operation: str, query: Mapping[str, str]) -> Download:
    """The list that this query asks for, in the format that the page's URL names; CSV if it names none.

    Raises ``ApiError`` (400) for JSON, which is no file: it has pages.
    """
    named = visit.query("format") or Format.CSV
    if named == Format.JSON:
        raise invalid("A file is csv or jsonl.")
    return Download(operation, {**query, "format": named})


def is_whole(page: Mapping[str, Any]) -> bool:
    """Whether the page is the whole list, so that its rows can be counted."""
    return page["next_cursor"] is None and page["prev_cursor"] is None


async def key_names(visit: Visit) -> Mapping[str, str]:
    """The names of the newest two hundred keys that have one, by id, for whoever may see keys."""
    if not visit.may("admin"):
        return {}
    page = await visit.ask("list_keys", query={"limit": "200"})
    return {each["id"]: each["name"] for each in page["data"] if each["name"]}


async def urls_by_id(visit: Visit) -> Mapping[str, str]:
    """The URLs of the newest two hundred endpoints, by id; the others are shown by their ids."""
    states = "active,paused,disabled,gone"
    page: Mapping[str, Any] = await visit.ask("list_endpoint_urls", query={"limit": "200", "state": states})
    return {each["id"]: each["url"] for each in page["data"]}
