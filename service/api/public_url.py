"""The public base URL, for links in answers."""

import re

from service.api.asked import Asked

_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}")
_PATH_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]{1,64}){1,8}")


def public_url(request: Asked, configured: str | None) -> str:
    """Return ``PUBLIC_URL`` if set, else the URL from the proxy's headers or the request. No trailing slash.

    The caller controls those headers, so only well-formed values are used.
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


def own_origin(request: Asked, configured: str | None) -> str:
    """The origin of the service, as a browser names it."""
    scheme, _, host, *_ = public_url(request, configured).lower().split("/")
    return f"{scheme}//{host}"


def _forwarded(request: Asked, name: str) -> str:
    """Return the first value of a forwarded header, which the outermost proxy set."""
    return request.headers.get(name, "").partition(",")[0].strip()
