"""What the form of an endpoint offers: event types, the paths of their values, signature styles and retry presets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from service.core.endpoints.retry_schedule import PRESETS
from service.core.events.registry import BUILT_IN
from service.core.events.types.operational import is_operational
from service.web.page import Visit
from service.web.pages.endpoints.clauses import OPERATORS
from service.web.pages.endpoints.form import CUSTOM
from service.web.words import counted, span
from webhook_signature.styles import STYLES

TYPES_PAGES_MAX: Final = 5
PATHS_MAX: Final = 100
OWN_SAMPLES_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class TypeGroup:
    """Event types with the same beginning, and the pattern that covers them, also those to come."""

    pattern: str
    types: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Choices:
    """What a form offers."""

    groups: Sequence[TypeGroup]
    paths: Sequence[str]

    @property
    def style_pairs(self) -> Sequence[tuple[str, str]]:
        """The values of the choice of styles, with their labels."""
        return [(name, name) for name in STYLES]

    @property
    def names(self) -> frozenset[str]:
        """Every type and pattern that has a box."""
        names = {each["name"] for group in self.groups for each in group.types}
        return frozenset({"*", *names, *(group.pattern for group in self.groups)})

    @property
    def retries(self) -> Sequence[tuple[str, str]]:
        """The values of the choice of retries, with their labels."""
        presets = [(name, f"{name} ({counted(each.attempts_max, 'attempt')})") for name, each in PRESETS.items()]
        return (("", "The service's default"), *presets, (CUSTOM, "Delays of my own"))


async def choices_for(visit: Visit) -> Choices:
    """What there is to choose from; of very many types of an organization's own, the first by name.

    Schemas and samples may be megabytes: the samples of the first few are read, for the paths of their values.
    """
    types, query = list[Mapping[str, Any]](), {"limit": "200"}
    for _ in range(TYPES_PAGES_MAX):
        page = await visit.ask("list_event_type_names", query=query)
        types += page["data"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    grouped = dict[str, list[Mapping[str, Any]]]()
    for each in sorted(types, key=lambda one: is_operational(one["name"])):
        grouped.setdefault(f"{each['name'].partition('.')[0]}.*", []).append(each)
    groups = [TypeGroup(pattern, found) for pattern, found in grouped.items()]
    return Choices(groups, await _paths_of_samples(visit))


async def _paths_of_samples(visit: Visit) -> Sequence[str]:
    """The paths in the samples of the built-in types and of the first own ones."""
    page = await visit.ask("list_event_types", query={"limit": str(len(BUILT_IN) + OWN_SAMPLES_MAX)})
    paths = {path: None for each in page["data"] if each["sample"] for path in _paths(each["sample"], "")}
    return sorted(islice(paths, PATHS_MAX))


async def form_parts(visit: Visit) -> Mapping[str, Any]:
    """What the template of the form takes, beside what is typed."""
    return {
        "choices": await choices_for(visit),
        "operators": OPERATORS,
        "check_url": lambda part: visit.url(f"/endpoints/check/{part}"),
    }


def spelled_out(schedule: Mapping[str, Any]) -> str:
    """A schedule in words: "12 attempts in 61 h: after 5 s, 15 s, …"."""
    delays = schedule["delays_seconds"]
    if not delays:
        return "One attempt, and none after it."
    whole = counted(schedule["attempts_max"], "attempt")
    return f"{whole} in {hours(sum(delays))}: after {', '.join(map(span_with_rest, delays))}."


def hours(seconds: float) -> str:
    """A long time in hours, as schedules are compared: "61 h 40 min"."""
    minutes = round(seconds / 60)
    if minutes < 60:  # noqa: PLR2004 - minutes in an hour
        return span_with_rest(seconds)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def span_with_rest(seconds: float) -> str:
    """A time's length in its two largest units: "2 min 15 s"."""
    if seconds < 10 and seconds % 1:  # noqa: PLR2004 - where half a second is much
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if seconds < 60 or rest == 0 or minutes >= 60:  # noqa: PLR2004 - seconds in a minute, minutes in an hour
        return span(seconds)
    return f"{minutes} min {rest} s"


def _paths(value: object, path: str) -> Iterator[str]:
    """The paths of the values of an event that a clause can be about."""
    if not isinstance(value, dict):
        if not isinstance(value, list):
            yield path
        return
    for name, inner in value.items():
        if "." not in name:
            yield from _paths(inner, f"{path}.{name}" if path else name)
