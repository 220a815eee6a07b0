"""The list of endpoints: those that fail come first."""

from collections.abc import Mapping
from typing import Any, Final

from service.web.page import Result, Shown, Visit
from service.web.pages.filtering import as_file
from service.web.words import counted

LIMIT: Final = 100
STATES: Final = {"": "All", "active": "Active", "paused": "Paused", "disabled": "Disabled", "gone,expired": "Ended"}
"""The values of the filter, as the API takes them, with their words."""

_ORDER: Final = {"disabled": 0, "failing": 1, "healthy": 2, "idle": 3, "paused": 4, "gone": 5, "expired": 5}


async def show_list(visit: Visit) -> Result:
    """A page of the list. The API knows its order by time; within a page those that fail are put first."""
    query = _asked(visit)
    page = await visit.ask("list_endpoints", query={**query, "limit": str(LIMIT)})
    endpoints = sorted(page["data"], key=lambda each: _ORDER.get(look_of(each), 2))
    ids = ",".join(each["id"] for each in endpoints)
    lines = (await visit.ask("list_endpoint_stats", query={"endpoint_id": ids}))["data"] if ids else []
    search, state = query.get("search", ""), query.get("state", "")
    context = {
        "page": page,
        "endpoints": endpoints,
        "lines": {each["endpoint_id"]: each for each in lines},
        "search": search,
        "state": state,
        "states": STATES,
        "is_filtered": bool(search or state),
        "is_part": bool(page["next_cursor"] or page["prev_cursor"]),
        "look_of": look_of,
    }
    return Shown("endpoints.html", _title(endpoints, is_part=bool(page["next_cursor"] or "cursor" in query)), context)


async def export_list(visit: Visit) -> Result:
    """All that match the search, as a file."""
    return as_file(visit, "list_endpoints", _asked(visit))


def _asked(visit: Visit) -> dict[str, str]:
    """The operation's query, as far as the page's parameters say."""
    query = {name: visit.query(name) for name in ("search", "state", "cursor")}
    return {name: value for name, value in query.items() if value and (name != "state" or value in STATES)}


def look_of(endpoint: Mapping[str, Any]) -> str:
    """The word on its badge: its state, or how it is if that says nothing."""
    return str(endpoint["health"]["status"] if endpoint["state"] == "active" else endpoint["state"])


def _title(endpoints: list[Mapping[str, Any]], *, is_part: bool) -> str:
    ill = sum(look_of(each) in {"failing", "disabled"} for each in endpoints)
    if is_part:
        return f"Endpoints, {ill} failing on this page" if ill else "Endpoints"
    return f"{counted(len(endpoints), 'endpoint')}, {ill} failing" if ill else counted(len(endpoints), "endpoint")
