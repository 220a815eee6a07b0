"""CORS: which other sites' pages may call the API from a browser. None, unless the operator lists them.

Keys travel in headers that a page sets itself, never in cookies, so ``Access-Control-Allow-Credentials`` is never sent:
no page can use a login that the browser has stored. ``*`` lets every page call that has a key in hand.
"""

from collections.abc import Collection
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service.api.vary import add_vary

ANY: Final = "*"
TRUSTED_SITE: Final = web.RequestKey("trusted_site", bool)
"""Whether the request comes from a page of a site that is listed by name."""

_ALLOWED: Final = web.RequestKey("allowed_origin", str)
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": (
        "Authorization, X-API-Key, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-ID, Last-Event-ID"
    ),
    "Access-Control-Max-Age": "600",
}
_EXPOSED: Final = (
    "X-Request-ID, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit, RateLimit-Policy, "
    "Retry-After, Idempotency-Replayed, Location, ETag, Allow, Deprecation, Sunset, Link"
)


def cors_middleware(origins: Collection[str]) -> Middleware:
    """Let pages of these origins in, and answer what their browsers ask before; without any, do nothing."""

    @web.middleware
    async def allow(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not origins:
            return await handler(request)
        origin = request.headers.get("Origin")
        is_listed = origin in origins
        request[TRUSTED_SITE] = is_listed and origin != ANY
        request[_ALLOWED] = ANY if ANY in origins else origin if origin is not None and is_listed else ""
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if is_preflight and origin is not None and request[_ALLOWED]:
            return web.Response(status=204, headers=_PREFLIGHT)
        return await handler(request)

    return allow


async def show_origin(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that let a page read the answer, errors included."""
    allowed = request.get(_ALLOWED)
    if allowed is None:
        return
    if allowed != ANY:
        add_vary(response, "Origin")
    if allowed:
        response.headers["Access-Control-Allow-Origin"] = allowed
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED
