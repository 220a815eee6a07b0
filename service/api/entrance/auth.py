"""Authentication: find the request's API key, look it up by its id, and compare digests in constant time."""

import base64
import binascii
import hmac
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from aiohttp import web

from service.api.entrance.guesses import Guesses
from service.api.errors import ApiError, Code, invalid
from service.core.keys.api_key import PREFIX, StoredKey, digest_of, parse_key
from service.ports.requests import KeyRing

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="posthorn"'}

_NO_DIGEST: Final = bytes(32)


async def authenticate(request: web.Request, keys: KeyRing, guesses: Guesses, now: datetime) -> StoredKey:
    """Return the caller's key. Only a caller with the whole key learns that it expired or was revoked.

    Raises ``ApiError`` (400, 401, 429).
    """
    given = set(_given_keys(request))
    if not given:
        raise _refused(_where_to_put_it(request))
    if len(given) > 1:
        raise invalid("the request carries two different API keys")
    return await key_of(given.pop(), request.remote, keys, guesses, now)


async def key_of(text: str, remote: str | None, keys: KeyRing, guesses: Guesses, now: datetime) -> StoredKey:
    """Return the valid key with this text. Raises ``ApiError`` (401, 429)."""
    key_id = parse_key(text)
    if key_id is None:  # not in a key's form: no lookup
        raise _refused("the API key is not valid")
    digest = digest_of(text)
    await guesses.admit(remote, key_id, digest)
    key = await keys.find(key_id)
    why_not = _why_not(key, digest, now)
    if key is None or why_not is not None:
        guesses.was_wrong(remote, key_id, digest)
        raise _refused(why_not or "the API key is not valid")
    guesses.was_right(key_id, digest)
    return key


async def recognise(remote: str | None, text: str, keys: KeyRing, guesses: Guesses) -> StoredKey | None:
    """The key with this text, even if it has ended; None if there is none. Each time counts as a guess.

    The same is done, and takes the same time, whether the id exists or not. Raises ``ApiError`` (429).
    """
    key_id, digest = parse_key(text), digest_of(text)
    if key_id is None:
        return None
    await guesses.admit(remote, key_id, digest)
    guesses.was_wrong(remote, key_id, digest)
    key = await keys.find(key_id)
    is_right = hmac.compare_digest(digest, key.digest if key is not None else _NO_DIGEST)
    return key if is_right else None


def _why_not(key: StoredKey | None, digest: bytes, now: datetime) -> str | None:
    is_right = hmac.compare_digest(digest, key.digest if key is not None else _NO_DIGEST)
    if key is None or not is_right:
        return "the API key is not valid"
    if key.revoked_at is not None:
        return "the API key was revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "the API key has expired"
    return None


def _refused(sentence: str) -> ApiError:
    return ApiError(401, Code.INVALID_API_KEY, sentence, headers=CHALLENGE)


def _where_to_put_it(request: web.Request) -> str:
    where = "an API key is required: send Authorization: Bearer <key>, or X-API-Key: <key>"
    if any(PREFIX in value for value in request.query.values()):
        return f"{where}. A key in the query string is ignored, and ends up in logs: revoke it and create a new one"
    return where


def _given_keys(request: web.Request) -> Iterator[str]:
    """Yield the keys in the headers, unchecked; a scheme without a key yields "". Raises ``ApiError`` (401)."""
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
                raise _refused("the Authorization header must be Bearer <key>, Token <key> or Basic")


def _password_of(encoded: str) -> str:
    """Return the password, which is the key. The user name is never read: proxies write it to access logs."""
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        raise _refused("the Basic credentials cannot be decoded") from None
