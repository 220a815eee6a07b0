"""The API's aiohttp application: middleware for every request, and the surfaces mounted in it.

A surface with another error shape is a sub-application; its own error middleware answers first.
"""

from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service.api.cors import cors_middleware, show_origin
from service.api.deprecation import show_deprecation
from service.api.entrance.entrance import Entrance
from service.api.entrance.rate_limit import show_rate_limit
from service.api.entrance.strays import count_strays
from service.api.errors import error_middleware
from service.api.operation import Operation, bind
from service.api.patience import let_go
from service.api.request_id import NewRequestId, random_request_id, request_id_middleware, show_request_id
from service.ports.observer import Observer

CLIENT_BYTES_MAX: Final = 8 * 1024 * 1024
"""aiohttp's upper bound for a body; each operation has its own, smaller limit."""

HANDLER_ARGUMENTS: Final = {"auto_decompress": False}
"""For aiohttp's server: ``read_body`` unpacks."""

_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def make_api(
    operations: Sequence[Operation],
    entrance: Entrance,
    observer: Observer,
    *,
    surfaces: Mapping[str, web.Application] = MappingProxyType({}),
    documents: Sequence[web.RouteDef] = (),
    cors_origins: Collection[str] = (),
    configured_url: str | None = None,
    new_request_id: NewRequestId = random_request_id,
) -> web.Application:
    """Build the application. ``surfaces`` maps path prefixes to sub-applications; ``documents`` need no key.

    ``configured_url`` is PUBLIC_URL. ``cors_origins`` are the sites whose pages may call it from a browser.
    """
    app = web.Application(
        middlewares=[
            request_id_middleware(new_request_id),
            cors_middleware(cors_origins, configured_url),
            error_middleware(observer, configured_url),
            count_strays(entrance),
            _drop_slash(surfaces),
        ],
        client_max_size=CLIENT_BYTES_MAX,
        handler_args=HANDLER_ARGUMENTS,
    )
    app.on_response_prepare.append(show_request_id)
    app.on_response_prepare.append(show_rate_limit)
    app.on_response_prepare.append(show_deprecation)
    app.on_response_prepare.append(_add_headers)
    app.on_response_prepare.append(show_origin)
    app.on_cleanup.append(lambda _: let_go())
    for operation in operations:
        handler = bind(operation, entrance)
        app.router.add_route(operation.method, operation.path, handler)
        if operation.method == "GET":  # the same work, and aiohttp keeps the body
            app.router.add_route("HEAD", operation.path, handler)
    app.router.add_routes(documents)
    for prefix, surface in surfaces.items():
        app.add_subapp(prefix, surface)
    return app


def _drop_slash(surfaces: Collection[str]) -> Middleware:
    """Redirect a path with a trailing slash to the known path without it; 308 keeps the method and the body.

    The location is relative, so it works behind any path prefix and cannot lead to another host. Surfaces under a
    prefix have their own rules.
    """

    @web.middleware
    async def lead(request: web.Request, handler: Handler) -> web.StreamResponse:
        path, query = request.rel_url.raw_path, request.rel_url.raw_query_string
        is_ours = not any(path.startswith(prefix) for prefix in surfaces)
        if request.match_info.http_exception is not None and path.endswith("/") and is_ours:
            meant = request.clone(rel_url=request.rel_url.with_path(path[:-1], encoded=True))
            found = (await request.app.router.resolve(meant)).http_exception
            if found is None or found.status == HTTPStatus.METHOD_NOT_ALLOWED:
                name = path[:-1].rpartition("/")[2]
                location = f"../{name}{'?' if query else ''}{query}"
                return web.Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={"Location": location})
        return await handler(request)

    return lead


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
