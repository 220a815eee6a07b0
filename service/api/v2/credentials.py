"""Authentication with RapidPro's messages. Wrong token: 403 now; missing token: 403 after the method check."""

from typing import Final

from aiohttp import web

from service.api.entrance.entrance import Entrance
from service.api.errors import ApiError
from service.api.v2.refusal import refusal
from service.core.api_key import StoredKey

INVALID_TOKEN: Final = "Invalid token"  # noqa: S105 - a sentence
NO_CREDENTIALS: Final = "Invalid token header. No credentials provided."
HAS_SPACES: Final = "Invalid token header. Token string should not contain spaces."
BAD_CHARACTERS: Final = "Invalid token header. Token string should not contain invalid characters."

_KNOWN_SCHEMES: Final = {"token", "bearer", "basic"}
_TOKEN_PARTS: Final = 2


async def authenticate_token(request: web.Request, entrance: Entrance) -> StoredKey | None:
    """Return the caller's key; None without one or with an unknown scheme. Raises ``RefusalError`` (403)."""
    schemes = [_scheme_of(header) for header in request.headers.getall("Authorization", [])]
    if not any(scheme in _KNOWN_SCHEMES for scheme in schemes) and "X-API-Key" not in request.headers:
        return None
    try:
        return await entrance.authenticate(request)
    except ApiError as error:
        if error.status == web.HTTPUnauthorized.status_code:
            raise refusal(403, INVALID_TOKEN) from None
        raise


def _scheme_of(header: str) -> str:
    """Return the scheme in lower case. Raises ``RefusalError`` for a malformed token."""
    parts = header.split()
    scheme = parts[0].lower() if parts else ""
    if scheme in {"token", "bearer"}:
        if len(parts) < _TOKEN_PARTS:
            raise refusal(403, NO_CREDENTIALS)
        if len(parts) > _TOKEN_PARTS:
            raise refusal(403, HAS_SPACES)
        if not header.isascii():
            raise refusal(403, BAD_CHARACTERS)
    return scheme
