"""The list of endpoints: those that fail come first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.web.page import Result, Shown, Visit
from service.web.pages.filtering import as_file, asked
from service.web.together import together
from service.web.words import in_words

LIMIT: Final = 100
COUNTED_MAX: Final = 200
"""The endpoints of a choice are counted up to this."""
FILTERS: Final[Sequence[str]] = ("failing", "state")

_ORDER: Final = {"disabled": 0, "failing": 1, "healthy": 2, "idle": 3, "paused": 4, "gone": 5, "expired": 5}


@dataclass(frozen=True, slots=True)
class Choice:
    """What the list can be narrowed to: its word, and its filters as the API takes them."""

    word: str
    query: Mapping[str, str]
    tone: str = ""


FAILING: Final = Choice("Failing", {"failing": "true"}, "bad-text")
CHOICES: Final = (
    Choice("All", {}),
    FAILING,
    Choice("Healthy", {"failing": "false", "state": "active"}),
    Choice("Paused", {"state": "paused"}),
    Choice("Disabled", {"state": "disabled"}, "bad-text"),
    Choice("Ended", {"state": "gone,expired"}),
)


async def show_list(visit: Visit) -> Result:
    """A page of the list. The API knows its order by time; within a page those that fail are put first."""
    query = _asked(visit)
    listed = visit.ask("list_endpoints", query={**query, "limit": str(LIMIT)})
    page, counts = await together(listed, _counts(visit))
    endpoints = sorted(page["data"], key=lambda each: _ORDER.get(look_of(each), 2))
    ids = ",".join(each["id"] for each in endpoints)
    lines = (await visit.ask("list_endpoint_stats", query={"endpoint_id": ids}))["data"] if ids else []
    narrowed = {name: query[name] for name in FILTERS if name in query}
    context = {
        "page": page,
        "endpoints": endpoints,
        "lines": {each["endpoint_id"]: each for each in lines},
        "search": query.get("search", ""),
        "narrowed": narrowed,
        "choices": [each for each in zip(CHOICES, counts, strict=True) if _is_offered(*each, narrowed)],
        "filters": {name: value for name, value in query.items() if name != "cursor"},
        "is_part": bool(page["next_cursor"] or page["prev_cursor"]),
        "look_of": look_of,
    }
    title = _title(endpoints, query, is_part=bool(page["next_cursor"]))
    failing = counts[CHOICES.index(FAILING)] or "0"
    is_known = failing.isdecimal() and "search" not in query
    return Shown("endpoints.html", title, context, failing_count=int(failing) if is_known else None)


async def export_list(visit: Visit) -> Result:
    """All that match the search, as a file."""
    return as_file(visit, "list_endpoints", _asked(visit))


def _asked(visit: Visit) -> dict[str, str]:
    """The operation's query, as far as the page's parameters say; what is no choice is left out."""
    narrowed = asked(visit, *FILTERS)
    known = narrowed if any(narrowed == each.query for each in CHOICES) else {}
    return {**known, **asked(visit, "search", "cursor")}


async def _counts(visit: Visit) -> Sequence[str]:
    """How many endpoints each choice has, of those that the search finds; "" for none."""
    counts = []
    for each in CHOICES:
        query = {**each.query, **asked(visit, "search"), "limit": str(COUNTED_MAX)}
        page = await visit.ask("list_endpoint_urls", query=query)
        counts.append(f"{len(page['data'])}{'+' if page['next_cursor'] else ''}" if page["data"] else "")
    return counts


def _is_offered(choice: Choice, count: str, narrowed: Mapping[str, str]) -> bool:
    return bool(count) or choice.query in ({}, narrowed)


def look_of(endpoint: Mapping[str, Any]) -> str:
    """The word on its badge: its state, or how it is if that says nothing."""
    return str(endpoint["health"]["status"] if endpoint["state"] == "active" else endpoint["state"])


def _title(endpoints: Sequence[Mapping[str, Any]], query: Mapping[str, str], *, is_part: bool) -> str:
    ill = sum(look_of(each) in {"failing", "disabled"} for each in endpoints)
    if is_part or "cursor" in query:
        return f"Endpoints, {in_words(ill)} failing on this page" if ill else "Endpoints"
    told = f"{in_words(len(endpoints)).capitalize()} endpoint{'' if len(endpoints) == 1 else 's'}"
    return f"{told}, {in_words(ill)} failing" if ill else told
