"""Every route of the pages, as the application's router has them, with the ids of things put in."""

import re
from collections.abc import Iterator

from aiohttp import web

from tests.api.tenancy import PAGES
from tests.api.whole_rig import OWNER, Things

OF_ORGANIZATION = f"{PAGES}/o/{{organization}}"
LINK = "A" * 43
"""What is no link's token."""


def templates_of(application: web.Application, method: str) -> Iterator[str]:
    """The templates of all pages that are asked for with the method; static files are no pages."""
    for route in application.router.routes():
        template = "" if route.resource is None else route.resource.canonical
        if route.method == method and template.startswith(PAGES) and not template.startswith(f"{PAGES}/static/"):
            yield template


def path_of(template: str, things: Things, organization: str = OWNER) -> str:
    """The template with the ids put in. A page with a new kind of id fails until it is here."""
    known = {
        "{organization}": organization,
        "/endpoints/check/{part}": "url",
        "/endpoints/{id}": things.endpoint_id,
        "/deliveries/{id}": things.delivery_id,
        "/events/{id}": things.event_id,
        "/replays/{id}": things.replay_id,
        "{order}": "pause",
        "/event-types/{name}": things.event_type,
        "/keys/{id}": things.key_id,
        "/parked/{id}": "prk_1",
        "/enter/{token}": LINK,
    }
    path = template
    for each, value in known.items():
        path = path.replace(each, each[: each.index("{")] + value)
    assert "{" not in path, f"{template} is new: say in tests/web/routes.py what its ids are"
    return path


def is_of_a_thing(template: str) -> bool:
    """Whether the path has the id of something that is an organization's."""
    return bool(re.search(r"\{(id|name)\}", template)) and template.startswith(OF_ORGANIZATION)
