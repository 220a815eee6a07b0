"""CORS: which other sites' pages may call the API from a browser. None, unless the operator lists them.

Keys travel in headers that a page sets itself, never in cookies, so ``Access-Control-Allow-Credentials`` is never sent.
A browser adds a login that it has stored (Basic) to a form of any site without asking, so no other site's page, listed
or not, changes anything with one. ``*`` lets every page call that has a key in hand.
"""

from collections.abc import Collection
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service.api.public_url import own_origin
from service.api.vary import add_vary

ANY: Final = "*"
ALIEN: Final = web.RequestKey("alien", bool)
"""Whether the request comes from a page of another site."""
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


def cors_middleware(origins: Collection[str], configured_url: str | None) -> Middleware:
    """Let pages of these origins in, and answer what their browsers ask before; without any, only tell ``ALIEN``.

    ``configured_url`` is PUBLIC_URL.
    """

    @web.middleware
    async def allow(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        is_foreign = origin is not None and origin != own_origin(request, configured_url)
        request[ALIEN] = is_foreign or request.headers.get("Sec-Fetch-Site") == "cross-site"
        if not origins:
            return await handler(request)
        is_listed = origin in origins
        request[TRUSTED_SITE] = is_listed and origin != ANY
        request[_ALLOWED] = ANY if ANY in origins else origin if origin is not None and is_listed else ""
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if is_preflight and origin is not None and request[_ALLOWED]:
            return web.Response(status=204, headers=_PREFLIGHT)
        return await handler(request)

    return allow


def has_browser_login(request: web.Request) -> bool:
    """Whether it bears a login that a browser may have added by itself."""
    return any(each.lower().split()[:1] == ["basic"] for each in request.headers.getall("Authorization", []))


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
