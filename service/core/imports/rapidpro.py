"""RapidPro's resthooks and their subscribers: an endpoint for each target URL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.core.imports.foreign import Foreign, Found, Unreadable, each_object, text_of

PREFIX: Final = "resthook"
RESTHOOKS: Final = "resthooks"
SUBSCRIBERS: Final = "resthook_subscribers"
LISTS: Final = (RESTHOOKS, SUBSCRIBERS)
"""The lists of its API that are read, by their names in the path and in an export file."""


@dataclass(frozen=True, slots=True)
class RapidPro:
    """What was read: the slugs of all resthooks, and an endpoint for each URL."""

    slugs: Sequence[str]
    found: Found


def read_rapidpro(export: Mapping[str, Any]) -> RapidPro:
    """Read both lists. A resthook that nobody has subscribed to has a slug all the same."""
    slugs: list[str] = []
    unreadable: list[Unreadable] = []
    for each in each_object(export.get(RESTHOOKS, []), RESTHOOKS):
        if isinstance(each, Unreadable):
            unreadable.append(each)
        elif slug := text_of(each[1], "resthook"):
            slugs.append(slug)
        else:
            unreadable.append(Unreadable(each[0], "has no resthook"))
    by_url: dict[str, dict[str, str]] = {}
    for each in each_object(export.get(SUBSCRIBERS, []), SUBSCRIBERS):
        if isinstance(each, Unreadable):
            unreadable.append(each)
            continue
        place, entry = each
        slug, url, number = text_of(entry, "resthook"), text_of(entry, "target_url").strip(), entry.get("id")
        if not slug or not url or not isinstance(number, int):
            unreadable.append(Unreadable(place, "needs id, resthook and target_url"))
            continue
        by_url.setdefault(url, {}).setdefault(slug, str(number))
        slugs.append(slug)
    endpoints = [Foreign(tuple(hooks.values()), url, tuple(hooks)) for url, hooks in by_url.items()]
    return RapidPro(tuple(dict.fromkeys(slugs)), [*unreadable, *endpoints])
