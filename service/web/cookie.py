"""The cookie that holds a session's token, and nothing else."""

from typing import Final

from aiohttp import web

from service.api.public_url import own_origin
from service.core.session import SESSION_MAX, digest_of, is_token

_NAME: Final = "posthorn"
_SECURE_NAME: Final = f"__Host-{_NAME}"
"""Where https is: a browser then takes it from this host only, and over https only."""


def session_digest(request: web.Request, configured_url: str | None) -> bytes | None:
    """The digest of the token that the request bears; None without one."""
    token = request.cookies.get(_name(request, configured_url), "")
    return digest_of(token) if is_token(token) else None


def set_session(response: web.StreamResponse, request: web.Request, configured_url: str | None, token: str) -> None:
    """Have the browser keep the token. No page of another site gets it sent along, and no script reads it."""
    response.set_cookie(
        _name(request, configured_url),
        token,
        max_age=int(SESSION_MAX.total_seconds()),
        path="/",
        secure=_is_secure(request, configured_url),
        httponly=True,
        samesite="Strict",
    )


def drop_session(response: web.StreamResponse, request: web.Request, configured_url: str | None) -> None:
    """Have the browser forget the token."""
    secure = _is_secure(request, configured_url)
    response.del_cookie(_name(request, configured_url), path="/", secure=secure, httponly=True, samesite="Strict")


def _name(request: web.Request, configured_url: str | None) -> str:
    return _SECURE_NAME if _is_secure(request, configured_url) else _NAME


def _is_secure(request: web.Request, configured_url: str | None) -> bool:
    return own_origin(request, configured_url).startswith("https:")
