"""Scopes: what an API key may do.

``read``, ``write``, ``publish`` and ``admin`` hold for all that is the organization's. Some can be limited:
``publish:<event type>`` to a type or to those of a ``prefix.*``, ``read:<endpoint id>`` and ``write:<endpoint id>`` to
the reads of one endpoint and the actions on it. Whoever has only the limited scope does not have the whole one.
"""

import re
from collections.abc import Iterable
from typing import Final

from service.core.endpoints.subscription import covers
from service.core.events.registry import is_event_type_name
from service.core.suggestion import did_you_mean

SCOPES: Final = frozenset({"read", "write", "publish", "admin"})
"""The scopes without a limit."""
SCOPE_CHARACTERS_MAX: Final = 200

_OF_ENDPOINT: Final = frozenset({"read", "write"})
_ENDPOINT_ID: Final = re.compile(r"ep_[0-9a-z]{1,40}")
_FORMS: Final = ", ".join([*sorted(SCOPES), "publish:<event type>", "read:<endpoint id>", "write:<endpoint id>"])


def scope_problem(scope: str) -> str | None:
    """What is wrong with a scope; None if it is one."""
    if scope in SCOPES:
        return None
    name, colon, limit = scope.partition(":")
    if colon and name == "publish":
        return None if _is_pattern(limit) else f"{limit[:80]!r} must be an event type, or a prefix such as message.*"
    if colon and name in _OF_ENDPOINT:
        return None if _ENDPOINT_ID.fullmatch(limit) else f"{limit[:80]!r} must be the id of an endpoint"
    return f"unknown scope {scope[:80]!r}{did_you_mean(name, SCOPES) or '.'} Known: {_FORMS}"


def endpoint_of(scope: str) -> str | None:
    """The id of the endpoint to which a scope is limited; None if it is not limited to one."""
    name, _, limit = scope.partition(":")
    return limit if limit and name in _OF_ENDPOINT else None


def includes(scopes: Iterable[str], wanted: str) -> bool:
    """Whether one of the scopes is as wide as ``wanted``, or wider."""
    name, _, limit = wanted.partition(":")
    return any(each in {name, wanted} or (limit and _covers(each, name, limit)) for each in scopes)


def _covers(scope: str, name: str, limit: str) -> bool:
    return name == "publish" and scope.startswith("publish:") and covers(scope.partition(":")[2], limit)


def _is_pattern(text: str) -> bool:
    return is_event_type_name(text.removesuffix("*") + "x" if text.endswith(".*") else text)
