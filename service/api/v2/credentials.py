"""Authentication with RapidPro's messages. Wrong token: 403 now; missing token: 403 after the method check."""

import base64
import binascii
from typing import Final

from aiohttp import web

from service.api.entrance.entrance import Entrance
from service.api.errors import ApiError
from service.api.v2.refusal import refusal
from service.core.keys.api_key import StoredKey

INVALID_TOKEN: Final = "Invalid token"  # noqa: S105 - a sentence
NO_CREDENTIALS: Final = "Invalid token header. No credentials provided."
INVALID_BASIC: Final = "Invalid token or email"
NO_BASIC_CREDENTIALS: Final = "Invalid basic header. No credentials provided."
BASIC_HAS_SPACES: Final = "Invalid basic header. Credentials string should not contain spaces."
NOT_BASE64: Final = "Invalid basic header. Credentials not correctly base64 encoded."
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
            raise refusal(403, INVALID_BASIC if "basic" in schemes else INVALID_TOKEN) from None
        raise


def _scheme_of(header: str) -> str:
    """Return the scheme in lower case. Raises ``RefusalError`` for a malformed token or login."""
    parts = header.split()
    scheme = parts[0].lower() if parts else ""
    if scheme in {"token", "bearer"}:
        if len(parts) < _TOKEN_PARTS:
            raise refusal(403, NO_CREDENTIALS)
        if len(parts) > _TOKEN_PARTS:
            raise refusal(403, HAS_SPACES)
        if not header.isascii():
            raise refusal(403, BAD_CHARACTERS)
    if scheme == "basic":
        if len(parts) < _TOKEN_PARTS:
            raise refusal(403, NO_BASIC_CREDENTIALS)
        if len(parts) > _TOKEN_PARTS:
            raise refusal(403, BASIC_HAS_SPACES)
        if not _is_login(parts[1]):
            raise refusal(403, NOT_BASE64)
    return scheme


def _is_login(encoded: str) -> bool:
    """Whether it is the base64 of a user name, a colon and a password."""
    try:
        return ":" in base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        return False
