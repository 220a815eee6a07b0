"""What an organization must never reach: every route of an application, asked for another organization's things.

A route with a part in its path for which the territory knows no value fails the check, so a new route cannot be missed.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from service.core.keys.api_key import NewKey
from tests.api.conftest import Client
from tests.api.entrance_rig import Told, bearing

PAGES = "/dashboard"
"""Pages refuse in their own way: tests/web holds them to it."""
ENDLESS = ("GET", "/v1/stream")
"""What would not end; test_stream asks it whose things it tells of."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

_PART = re.compile(r"\{(\w+)[^}]*\}")

Route = tuple[str, str]
Aside = tuple[str, str, object, int]


@dataclass(frozen=True)
class Territory:
    """What is the owner's, and what is nobody's.

    Both maps go from a path's template, up to and with the part in braces, to its value: ``/v1/endpoints/{id}``.
    ``bodies`` are valid, by method and template; ``{}`` is sent elsewhere. ``asides`` carry the owner's ids in the query
    or the body: method, path, body, and what a stranger is answered. No answer to a stranger contains a ``mark``, but
    for an error that quotes what it was asked.
    """

    owned: Mapping[str, str]
    shared: Mapping[str, str] = field(default_factory=dict)
    bodies: Mapping[Route, object] = field(default_factory=dict)
    asides: Collection[Aside] = ()
    marks: Collection[str] = ()


def routes_of(application: web.Application) -> set[Route]:
    """Every method and path template, those of sub-applications too; pages are tests/web's."""
    found = set()
    for route in application.router.routes():
        assert route.resource is not None, route
        if route.resource.canonical.startswith(PAGES):
            continue
        for method in METHODS if route.method == "*" else (route.method,):
            found.add((method, route.resource.canonical))
    return found


def parts_of(template: str) -> Iterator[str]:
    """The template up to and with each of its parts."""
    for part in _PART.finditer(template):
        yield template[: part.end()]


def path_of(template: str, territory: Territory) -> str:
    """The template with the values put in. Fails for a part without one."""
    path, end = "", 0
    for part in _PART.finditer(template):
        upto = template[: part.end()]
        value = territory.owned.get(upto, territory.shared.get(upto))
        assert value is not None, f"the route {template} is new: the tenancy test has no id for {upto}"
        path += template[end : part.start()] + value
        end = part.end()
    return path + template[end:]


async def check_tenancy(
    application: web.Application, client: Client, territory: Territory, owner: NewKey, stranger: NewKey
) -> None:
    """Ask for all that is the owner's, first as the stranger, then as the owner, to whom it must still be there."""
    routes = sorted(routes_of(application) - {ENDLESS})
    known = {upto for _, template in routes for upto in parts_of(template)}
    assert known >= territory.owned.keys() | territory.shared.keys(), "the territory names parts that no route has"
    reached: list[str] = []
    for method, template in routes:
        asked = path_of(template, territory), territory.bodies.get((method, template))
        told = await _ask(client, stranger, method, *asked)
        is_owned = any(upto in territory.owned for upto in parts_of(template))
        if is_owned and told.status not in {404, 405}:
            reached.append(f"{method} {template}: {told.status} {told.body[:200]!r}")
        reached += [f"{method} {template} shows {mark}" for mark in _shown(territory, told, asked)]
    for method, path, body, status in territory.asides:
        told = await _ask(client, stranger, method, path, body)
        if told.status != status:
            reached.append(f"{method} {path}: {told.status} {told.body[:200]!r}")
        reached += [f"{method} {path} shows {mark}" for mark in _shown(territory, told, (path, body))]
    assert not reached, "\n".join(reached)
    await _assert_is_the_owners(client, routes, territory, owner)


async def _assert_is_the_owners(client: Client, routes: Collection[Route], territory: Territory, owner: NewKey) -> None:
    """Each thing is there for its owner, so the 404s were about the stranger; reading comes first, then removing."""
    unproven = set(territory.owned)
    for wanted in ("GET", "DELETE"):
        for method, template in routes:
            about = unproven & set(parts_of(template))
            if method == wanted and about:
                told = await _ask(client, owner, method, path_of(template, territory), None)
                if told.status < web.HTTPBadRequest.status_code:
                    unproven -= about
    assert not unproven, f"not there for its owner either: {unproven}"


def _shown(territory: Territory, told: Told, asked: object) -> list[str]:
    quotable = str(asked) if told.status >= web.HTTPBadRequest.status_code else ""
    said = f"{told.body.decode()} {dict(told.headers)}"
    return [mark for mark in territory.marks if mark in said and mark not in quotable]


async def _ask(client: Client, key: NewKey, method: str, path: str, body: object) -> Told:
    options: dict[str, Any] = {} if method in {"GET", "DELETE"} and body is None else {"json": body or {}}
    async with client.request(method, path, headers=bearing(key), allow_redirects=False, **options) as response:
        is_endless = response.content_type == "text/event-stream"
        return Told(response.status, response.headers, b"" if is_endless else await response.read())
