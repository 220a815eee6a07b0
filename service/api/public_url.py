"""The address by which callers reach us: what links in answers start with."""

import re

from aiohttp import web

_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}")
_PATH_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]{1,64}){1,8}")


def public_url(request: web.Request, configured: str | None) -> str:
    """``PUBLIC_URL`` where it is set; else what the proxy before us, or the request itself, says. No slash at the end.

    All that is the caller's own words, so only what is harmless is repeated.
    """
    if configured is not None:
        return configured.rstrip("/")
    scheme = _forwarded(request, "X-Forwarded-Proto").lower()
    hosts = (_forwarded(request, "X-Forwarded-Host"), request.host)
    prefix = _forwarded(request, "X-Forwarded-Prefix").rstrip("/")
    return "".join(
        (
            scheme if scheme in {"http", "https"} else request.scheme,
            "://",
            next((host for host in hosts if _HOST.fullmatch(host)), "localhost"),
            prefix if _PATH_PREFIX.fullmatch(prefix) else "",
        )
    )


def _forwarded(request: web.Request, name: str) -> str:
    """The first of a forwarded header's values: what the outermost proxy was asked for."""
    return request.headers.get(name, "").partition(",")[0].strip()
