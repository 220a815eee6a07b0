"""Who is asking: one key, in any of its carriers, looked up by its id and compared in constant time."""

import base64
import binascii
import hmac
from collections.abc import Iterator
from datetime import datetime
from typing import Final, Protocol

from aiohttp import web

from service.api.errors import ApiError, Code, invalid
from service.core.api_key import digest_of, parse_key

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="posthorn"'}

_NO_DIGEST: Final = bytes(32)


class StoredKey(Protocol):
    """A key as it lies in the database: ``digest`` is SHA-256 of its text."""

    @property
    def key_id(self) -> str:
        """What finds the row."""

    @property
    def organization_id(self) -> str:
        """Whose key it is."""

    @property
    def digest(self) -> bytes:
        """What the key's text must hash to."""

    @property
    def scopes(self) -> frozenset[str]:
        """What its holder may do."""

    @property
    def expires_at(self) -> datetime | None:
        """From when on it is no longer valid."""

    @property
    def revoked_at(self) -> datetime | None:
        """When it was taken back."""


class KeyRing(Protocol):
    """The keys that were given out."""

    async def find(self, key_id: str) -> StoredKey | None:
        """The key with this id, also when it is expired or revoked. May raise ``UnavailableError``."""


async def authorize(request: web.Request, keys: KeyRing, now: datetime, scope: str) -> StoredKey:
    """The caller's key, valid at ``now`` and allowed to do this. Raises ``ApiError``."""
    key = await authenticate(request, keys, now)
    if scope not in key.scopes:
        raise ApiError(403, Code.PERMISSION_DENIED, f"this API key lacks the scope {scope!r}")
    return key


async def authenticate(request: web.Request, keys: KeyRing, now: datetime) -> StoredKey:
    """The caller's key. Only who holds the whole key learns that it expired or was revoked. Raises ``ApiError``."""
    given = set(_given_keys(request))
    if not given:
        raise _refused("an API key is required: Authorization: Bearer <key>, or X-API-Key: <key>")
    if len(given) > 1:
        raise invalid("the request carries two different API keys")
    text = given.pop()
    key_id = parse_key(text)
    key = await keys.find(key_id) if key_id is not None else None
    is_right = hmac.compare_digest(digest_of(text), key.digest if key is not None else _NO_DIGEST)
    if key is None or not is_right:
        raise _refused("the API key is not valid")
    if key.revoked_at is not None:
        raise _refused("the API key was revoked")
    if key.expires_at is not None and key.expires_at <= now:
        raise _refused("the API key has expired")
    return key


def _refused(sentence: str) -> ApiError:
    return ApiError(401, Code.INVALID_API_KEY, sentence, headers=CHALLENGE)


def _given_keys(request: web.Request) -> Iterator[str]:
    for header in request.headers.getall("X-API-Key", []):
        yield header.strip()
    for header in request.headers.getall("Authorization", []):
        scheme, _, rest = header.strip().partition(" ")
        match scheme.lower():
            case "token" | "bearer":
                yield rest.strip()
            case "basic":
                yield _password_of(rest)
            case _:
                raise _refused("the Authorization header must be: Bearer <key>, Token <key>, or Basic")


def _password_of(encoded: str) -> str:
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        raise _refused("the Basic credentials cannot be read") from None
