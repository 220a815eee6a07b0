"""The list of deliveries: its filters, and when the events came."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from service.api.errors import ApiError
from service.core.deliveries.delivery import FINAL_STATES, State
from service.core.reason import Reason
from service.web.page import Moved, Result, Shown, Visit
from service.web.pages.filtering import WITHIN, WITHIN_CHOICES, as_file, as_query, asked, urls_by_id
from service.web.words import counted, host

FILTERS: Final = ("state", "reason", "event_type", "endpoint_id", "status_code", "event_id", "message_id", "within")
STATUSES: Final = [("", "any"), ("2xx", "2xx"), ("3xx", "3xx"), ("4xx", "4xx"), ("5xx", "5xx")]
CHARTED: Final = frozenset({"endpoint_id", "within"})
"""The filters that the figures know, too: of others there is no chart."""
CHARTED_PERIOD: Final = "24h"
"""Of a list that is not limited in time."""

_NOTHING: Final[Mapping[str, Any]] = {"data": [], "next_cursor": None, "prev_cursor": None}
_WORDS: Final = {
    "state": "that is {}",
    "reason": "with the reason {}",
    "event_type": "of the type {}",
    "endpoint_id": "to {}",
    "status_code": "answered {}",
    "event_id": "of the event {}",
    "message_id": "about the message {}",
    "id": "with the id {}, nor an event or a message",
}
"""What a filter asks for, after "there is none"."""


async def show_deliveries(visit: Visit) -> Result:
    """The list, newest event first."""
    wanted = visit.query("id")
    url = await _place_of(visit, wanted) if wanted else None
    if url is not None:
        return Moved(url)
    filters = {"id": wanted} if wanted else asked(visit, *FILTERS)
    page, errors = await _page(visit, filters)
    urls = await urls_by_id(visit)
    context = {
        "page": page,
        "filters": filters,
        "errors": errors,
        "is_charted": _is_charted(visit, filters),
        "not_there": _nothing_found(filters, urls),
        "urls": urls,
        "choices": {
            "state": [("", "any"), *((each.value, each.value) for each in State)],
            "reason": [("", "any"), *((each.value, each.value) for each in Reason)],
            "status_code": STATUSES,
            "within": WITHIN_CHOICES,
        },
    }
    return Shown("deliveries.html", _title(page["data"], filters), context)


async def show_chart(visit: Visit) -> Result:
    """The chart above the list, which comes after the page: the figures take longer to read than the list."""
    filters = asked(visit, *FILTERS)
    stats = None
    if _is_charted(visit, filters):
        query = {"period": filters.get("within", CHARTED_PERIOD), "endpoint_id": filters.get("endpoint_id", "")}
        stats = await visit.ask_if_there("get_stats", {}, {name: value for name, value in query.items() if value})
    return Shown("deliveries-chart.html", "", {"stats": stats, "over": WITHIN[stats["period"]][0] if stats else ""})


async def export_deliveries(visit: Visit) -> Result:
    """All that match the filters, as a file."""
    return as_file(visit, "list_deliveries", as_query(asked(visit, *FILTERS), visit))


async def _place_of(visit: Visit, wanted: str) -> str | None:
    """Where an id leads to: the delivery itself, or those of the event or the message; None if there is none."""
    if await visit.ask_if_there("get_delivery", {"id": wanted}):
        return visit.url(f"/deliveries/{quote(wanted, safe='')}")
    if await visit.ask_if_there("get_event", {"event_id": wanted}):
        return visit.url("/deliveries", event_id=wanted)
    if await visit.ask_if_there("get_message", {"message_id": wanted}):
        return visit.url("/deliveries", message_id=wanted)
    return None


async def _page(visit: Visit, filters: Mapping[str, str]) -> tuple[Mapping[str, Any], Mapping[str, Sequence[str]]]:
    """The deliveries; or none, and what is wrong with which filter."""
    if "id" in filters:
        return _NOTHING, {}
    try:
        return await visit.ask("list_deliveries", query=as_query(filters, visit)), {}
    except ApiError as refused:
        if refused.status != HTTPStatus.BAD_REQUEST:
            raise
        return _NOTHING, refused.errors


def _is_charted(visit: Visit, filters: Mapping[str, str]) -> bool:
    """Whether the figures can be of the same deliveries."""
    is_known = filters.keys() <= CHARTED and filters.get("within", CHARTED_PERIOD) in WITHIN
    return is_known and not visit.query("cursor") and "," not in filters.get("endpoint_id", "")


def _nothing_found(filters: Mapping[str, str], urls: Mapping[str, str]) -> str:
    """What is not there, in a sentence."""
    among = WITHIN.get(filters.get("within", ""))
    endpoint_id = filters.get("endpoint_id", "")
    values = {**filters, "endpoint_id": host(urls[endpoint_id]) if endpoint_id in urls else endpoint_id}
    asked_for = [words.format(values[name].replace(",", " or ")) for name, words in _WORDS.items() if name in filters]
    where = f"Among those of the {among[0]} there" if among else "There"
    return f"{where} is none {', '.join(asked_for)}".rstrip() + "."


def _title(rows: Sequence[Mapping[str, Any]], filters: Mapping[str, str]) -> str:
    """What is seen, in a sentence: a page knows no total, so it counts none."""
    if not rows:
        return "No delivery matches" if filters else "Nothing was delivered yet"
    if filters.get("state"):
        return f"Deliveries that are {filters['state'].replace(',', ' or ')}"
    waiting = sum(each["state"] not in FINAL_STATES for each in rows)
    dead = sum(each["state"] == "dead" for each in rows)
    if dead:
        return (
            f"{counted(dead, 'delivery', 'deliveries')} of the newest {len(rows)} {'is' if dead == 1 else 'are'} dead"
        )
    if waiting:
        verb = "waits" if waiting == 1 else "wait"
        return f"{counted(waiting, 'delivery', 'deliveries')} of the newest {len(rows)} {verb}"
    return "Everything arrives"
