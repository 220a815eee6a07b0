"""Validate a new subscriber: every error at once, in Django REST framework's sentences.

The rules are those of an endpoint; this module translates their findings into this surface's words.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.api.v2.bodies import Fields
from service.core.endpoints.settings import EndpointWish
from service.core.endpoints.target_policy import URL_MAX_CHARACTERS

REQUIRED: Final = "This field is required."
NULL: Final = "This field may not be null."
BLANK: Final = "This field may not be blank."
NOT_A_STRING: Final = "Not a valid string."
NOT_A_URL: Final = "Enter a valid URL."
TOO_LONG: Final = f"Ensure this field has no more than {URL_MAX_CHARACTERS} characters."
UNSTORABLE: Final = "Null characters are not allowed."

_URL_SHAPE: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^\s/?#@]*@)?(?:\[[0-9A-Fa-f:.]+\]|[\w-]+(?:\.[\w-]+)*\.?)(?::[0-9]+)?(?:[/?#]\S*)?"
)
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")  # PostgreSQL's text holds neither NUL nor a lone surrogate


@dataclass(frozen=True, slots=True)
class _Problem:
    sentence: str


_NAMES: Final = {"event_types": "resthook", "url": "target_url", "secret": "secret"}
"""What this surface calls the fields of an endpoint."""


def read_subscriber(fields: Fields) -> EndpointWish:
    """Convert a body to an endpoint's wish with one event type; unknown fields are ignored."""
    resthook = _text(fields, "resthook")
    if isinstance(resthook, str) and "*" in resthook:  # a pattern is not a resthook
        resthook = _Problem(_no_resthook(resthook))
    read = {"event_types": resthook, "url": _url(fields)}
    if "secret" in fields:
        read["secret"] = _text(fields, "secret")
    given: dict[str, Any] = {name: value for name, value in read.items() if isinstance(value, str)}
    if "event_types" in given:
        given["event_types"] = [given["event_types"]]
    unreadable = {name: [value.sentence] for name, value in read.items() if isinstance(value, _Problem)}
    return EndpointWish(given, unreadable)


def problems_here(problems: Mapping[str, Sequence[str]], wish: EndpointWish) -> dict[str, list[str]]:
    """Translate a wish's problems to this surface's field names and sentences."""
    told: dict[str, list[str]] = {}
    for path, sentences in problems.items():
        name = path.partition("[")[0]
        is_of_item = path != name  # event_types[0]: the one type that was asked for
        told[_NAMES[name]] = [_no_resthook(wish.given[name][0])] if is_of_item else list(sentences)
    return told


def _no_resthook(slug: str) -> str:
    return f"No resthook with slug: {slug}"


def _text(fields: Fields, name: str) -> str | _Problem:
    """Return a field as text without surrounding space; numbers are converted."""
    if name not in fields:
        return _Problem(REQUIRED)
    value = fields[name]
    if value is None:
        return _Problem(NULL)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _Problem(NOT_A_STRING)
    text = str(value).strip()
    if not text:
        return _Problem(BLANK)
    return _Problem(UNSTORABLE) if _UNSTORABLE.search(text) else text


def _url(fields: Fields) -> str | _Problem:
    text = _text(fields, "target_url")
    if isinstance(text, _Problem):
        return text if text.sentence in {REQUIRED, NULL, BLANK} else _Problem(NOT_A_URL)
    if not _URL_SHAPE.fullmatch(text):
        return _Problem(NOT_A_URL)
    return _Problem(TOO_LONG) if len(text) > URL_MAX_CHARACTERS else text
