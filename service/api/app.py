"""The API's application: what holds for every request, and the surfaces under it.

A surface with another error shape is a sub-application with an error middleware of its own: the inner one answers.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from aiohttp import web

from service.api.entrance import Entrance
from service.api.errors import error_middleware
from service.api.operation import Operation, bind
from service.api.rate_limit import show_rate_limit
from service.api.request_id import NewRequestId, random_request_id, request_id_middleware, show_request_id
from service.ports.observer import Observer

CLIENT_BYTES_MAX: Final = 8 * 1024 * 1024
"""What aiohttp reads at most; each operation has its own, smaller limit."""

_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def make_api(
    operations: Sequence[Operation],
    entrance: Entrance,
    observer: Observer,
    *,
    surfaces: Mapping[str, web.Application] = MappingProxyType({}),
    documents: Sequence[web.RouteDef] = (),
    new_request_id: NewRequestId = random_request_id,
) -> web.Application:
    """Build the application. ``surfaces`` are sub-applications by their prefix; ``documents`` need no key."""
    app = web.Application(
        middlewares=[request_id_middleware(new_request_id), error_middleware(observer)],
        client_max_size=CLIENT_BYTES_MAX,
    )
    app.on_response_prepare.append(show_request_id)
    app.on_response_prepare.append(show_rate_limit)
    app.on_response_prepare.append(_add_headers)
    for operation in operations:
        app.router.add_route(operation.method, operation.path, bind(operation, entrance))
    app.router.add_routes(documents)
    pages = [route.path for route in documents if isinstance(route, web.RouteDef) and "." not in route.path]
    for path in dict.fromkeys([*(operation.path for operation in operations), *pages]):
        if not path.endswith("/"):
            app.router.add_route("*", f"{path}/", _drop_slash)
    for prefix, surface in surfaces.items():
        app.add_subapp(prefix, surface)
    return app


async def _drop_slash(request: web.Request) -> web.Response:
    """Lead to the same path without its last slash, with the same method, body and query.

    Relative, and never to a host: so it holds behind any path prefix, and leads nowhere else.
    """
    name = request.rel_url.raw_path.rstrip("/").rpartition("/")[2]
    query = request.rel_url.raw_query_string
    return web.Response(status=308, headers={"Location": f"../{name}{'?' if query else ''}{query}"})


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
