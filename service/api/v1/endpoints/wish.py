"""Convert a request body to a wish; the models' errors are reported together with the core's refusals."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from service.api.errors import invalid
from service.api.v1.endpoints.answers import shown_fields
from service.api.v1.endpoints.bodies import SHOWN_ONLY
from service.api.v1.endpoints.read_only import keeps_unreadable_headers, read_only_problems
from service.api.v1.event_queries import GivenInstant
from service.api.validation import ERRORS_MAX, problems_of, read_object
from service.core.endpoints.health import Health
from service.core.endpoints.settings import EndpointWish
from service.core.endpoints.view import EndpointView

_INSTANT: Final = TypeAdapter(GivenInstant)


def read_wish(model: type[BaseModel], body: bytes, merged: frozenset[str] = frozenset()) -> EndpointWish:
    """Parse the body. Raises ``ApiError`` (400) if it is not a JSON object, or has more errors than are told."""
    return _wish_of(model, read_object(body), merged)


def read_echo(
    model: type[BaseModel], body: bytes, merged: frozenset[str] = frozenset()
) -> tuple[EndpointWish, Mapping[str, Any]]:
    """The same for a body that may be an answer sent back: the wish, and the read-only fields, for ``with_echo``."""
    value = read_object(body)
    names = SHOWN_ONLY & value.keys() - model.model_fields.keys()
    return (
        _wish_of(model, {name: each for name, each in value.items() if name not in names}, merged),
        {name: value[name] for name in sorted(names)},
    )


def with_echo(wish: EndpointWish, echo: Mapping[str, Any], endpoint: EndpointView | None) -> EndpointWish:
    """The wish with what is wrong with the read-only fields of its body. ``endpoint`` None: there is none yet."""
    shown = shown_fields(endpoint, Health(), shows_queries=True) if endpoint is not None else None
    problems = {**wish.unreadable, **read_only_problems(echo, shown)}
    given = wish.given
    if echo and endpoint is not None and keeps_unreadable_headers(given, endpoint):
        given = {name: value for name, value in given.items() if name != "headers"}
    return EndpointWish(given, problems, wish.merged)


def _wish_of(model: type[BaseModel], value: Mapping[str, Any], merged: frozenset[str]) -> EndpointWish:
    unreadable = dict(problems_of(model, value))
    if len(unreadable) > ERRORS_MAX:  # those that are not told name fields that the core must not see
        raise invalid("the request is not valid", unreadable)
    broken = {path.partition(".")[0].partition("[")[0] for path in unreadable}
    given = {name: each for name, each in value.items() if name not in broken}
    if given.get("valid_until") is not None:
        given["valid_until"] = _INSTANT.validate_python(given["valid_until"])
    return EndpointWish(given, unreadable, merged)
