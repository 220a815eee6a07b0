"""What holds for every page: who may change something, and what the browser may do with a page."""

from collections.abc import Awaitable, Callable, Collection
from typing import Final

from aiohttp import web

from service.api.errors import ApiError, Code
from service.api.public_url import own_origin

_SAME_SITE_ONLY: Final = (
    "This form came from another site's page, so nothing was changed. Open it here, and send it again."
)


def require_own_page(request: web.Request, configured_url: str | None) -> None:
    """Raise ``ApiError`` (403) unless the request comes from one of our own pages.

    Every browser says where a form comes from: in Sec-Fetch-Site over https, and in Origin. What says nothing is no
    browser, and has no business here.
    """
    site = request.headers.get("Sec-Fetch-Site")
    is_own = request.headers.get("Origin") == own_origin(request, configured_url)
    if site not in {None, "same-origin"} or not (is_own or site == "same-origin"):
        raise ApiError(403, Code.PERMISSION_DENIED, _SAME_SITE_ONLY)


def page_headers(embed_origins: Collection[str]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Adds the headers of every page. ``embed_origins`` are the sites whose pages may show ours in a frame."""
    ancestors = " ".join(sorted(embed_origins)) or "'none'"
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        f"form-action 'self'; base-uri 'none'; frame-ancestors {ancestors}"
    )

    async def add(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.setdefault("Content-Security-Policy", policy)
        # To our own pages the whole address, so that a form's Origin is told; to all others nothing.
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        response.headers.setdefault("Cache-Control", "no-store")
        if not embed_origins:
            response.headers.setdefault("X-Frame-Options", "DENY")

    return add
