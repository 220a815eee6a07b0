"""One client of the API: JSON out, JSON in, and the API's own sentence when it refuses.

A request is sent again only if it may be: POST and PATCH carry an Idempotency-Key, so that all may. It is sent again
after a 429 or a 503 that says when (Retry-After), for as long as the client has patience.
"""

import asyncio
import json
import os
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
from yarl import URL

from service import __version__
from service.cli.remote.target import ApiTarget
from service.cli.terminal import BAD_USAGE, FAILED, CommandError, shown, tell
from service.core.deliveries.outcome import retry_after_seconds

PAGE_ITEMS: Final = 200
REPLY_BYTES_MAX: Final = 64 * 1024 * 1024
"""A page of the largest events there are."""
REQUEST_SECONDS_MAX: Final = 60.0
CONNECT_SECONDS_MAX: Final = 10.0
PATIENCE_SECONDS: Final = 60.0
"""How long one request may wait for its turn, all waits together."""

_TIMEOUT: Final = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX, connect=CONNECT_SECONDS_MAX)
_WRONG_USAGE: Final = "VALIDATION_ERROR"
_REMEDIES: Final = {
    "INVALID_API_KEY": "Give a key that is valid. Whoever runs the service makes one: posthorn keys create",
    "PERMISSION_DENIED": "Give a key that has it; 'posthorn keys whoami' shows what this one may do.",
}
"""By code: what to do about it, where the API's own sentence cannot know how the key was given."""
_WAIT: Final = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_WITH_IDEMPOTENCY_KEY: Final = {"POST", "PATCH"}

Decode = Callable[[bytes], Any]
Value = str | int | bool | Sequence[str]
Query = Mapping[str, Value | None]
"""Parameters; None is left out, several values are joined with commas."""


class ApiRefusalError(CommandError):
    """The API refused. ``code`` is its own, such as NOT_FOUND; "" if the answer had none."""

    def __init__(self, text: str, status: int, code: str = "", exit_code: int = FAILED) -> None:
        super().__init__(text, exit_code)
        self.status = status
        self.code = code


class UnreachableError(CommandError):
    """No answer came. It may come later."""


class ApiClient:
    """The API of a target, for one command. Every method raises ``CommandError``."""

    def __init__(self, target: ApiTarget, *, on_wait: Callable[[str], None] = tell) -> None:
        """``on_wait`` is told in a sentence that a request waits for its turn."""
        self.target = target
        self._on_wait = on_wait
        self._headers = {
            "Authorization": f"Bearer {target.key}",
            "Accept": "application/json",
            "User-Agent": f"posthorn/{__version__}",
        }
        self._proxy = _proxy_for(target.url)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context())
        self._session = aiohttp.ClientSession(
            headers=self._headers, connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, query: Query | None = None, *, decode: Decode = json.loads) -> Any:  # noqa: ANN401 - any JSON value
        """What a GET answers."""
        return await self.request("GET", path, query=query, decode=decode)

    async def request(
        self, method: str, path: str, body: object = None, *, query: Query | None = None, decode: Decode = json.loads
    ) -> Any:  # noqa: ANN401 - any JSON value
        """What the API answers; None if it answers with no body. ``decode`` may raise ValueError."""
        headers = {"Idempotency-Key": str(uuid4())} if method in _WITH_IDEMPOTENCY_KEY else {}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        left_seconds = PATIENCE_SECONDS
        while True:
            async with self.opened(method, path, query=query, data=data, headers=headers) as reply:
                raw = await _read(reply, self.target)
            if reply.status < HTTPStatus.MULTIPLE_CHOICES:
                return _decoded(raw, decode, self.target) if raw else None
            wait_seconds = _asked_to_wait(reply)
            if wait_seconds is None or wait_seconds > left_seconds:
                raise refusal_of(reply, raw, self.target)
            left_seconds -= wait_seconds
            self._on_wait(f"The API asks to wait {wait_seconds} s ({reply.status}); Ctrl-C ends this.")
            await asyncio.sleep(wait_seconds)

    async def items(
        self, path: str, query: Query | None = None, *, count_max: int | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """The items of a list, page by page as they are needed; at most ``count_max``."""
        asked, left = dict(query or {}), count_max
        while left is None or left > 0:
            limit = PAGE_ITEMS if left is None else min(left, PAGE_ITEMS)
            page = await self.get(path, asked | {"limit": limit})
            for item in page["data"]:
                yield item
            if not page["has_more"]:
                return
            left = None if left is None else left - len(page["data"])
            asked["cursor"] = page["next_cursor"]

    @asynccontextmanager
    async def opened(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limits: aiohttp.ClientTimeout = _TIMEOUT,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request and the answer as it comes, whatever its status. Network errors inside are explained, too."""
        if self._session is None:
            raise RuntimeError("the client is not open")
        url = URL(self.target.url + path).with_query(_parameters(query or {}))
        try:
            async with self._session.request(
                *(method, url),
                data=data,
                headers=headers,
                allow_redirects=False,  # a key goes where it was given for, and nowhere else
                proxy=self._proxy,
                timeout=limits,
            ) as reply:
                yield reply
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(_why_unreachable(error, self.target)) from None


async def refusal(reply: aiohttp.ClientResponse, target: ApiTarget) -> ApiRefusalError:
    """Why the API refused, from an answer whose body is not read yet."""
    return refusal_of(reply, await _read(reply, target), target)


def refusal_of(reply: aiohttp.ClientResponse, raw: bytes, target: ApiTarget) -> ApiRefusalError:
    """Why the API refused: its sentence, each field's, and the request's id."""
    status = reply.status
    if reply.headers.get("Location") and status < HTTPStatus.BAD_REQUEST:
        to = shown(reply.headers["Location"])
        text = f"{target.url} ({target.named_by}) redirects to {to}, which is not followed: name the API's own URL."
        return ApiRefusalError(text, status, exit_code=BAD_USAGE)
    try:
        told = json.loads(raw)
        sentence, code = str(told["error"]), str(told["code"])
        fields = dict(told.get("errors") or {})
    except (ValueError, KeyError, TypeError, RecursionError):
        text = f"{target.url} ({target.named_by}) answered {status}, but not as the API does. Is it the API's URL?"
        return ApiRefusalError(text, status)
    lines = [f"{sentence[:1].upper()}{sentence[1:]}{'' if sentence.endswith('.') else '.'} ({status} {code})"]
    lines += [f"  {name}: {' '.join(map(str, each))}" for name, each in fields.items()]
    if remedy := _REMEDIES.get(code):
        lines.append(f"  {remedy}")
    if request_id := reply.headers.get("X-Request-ID"):
        lines.append(f"  Request: {request_id}")
    exit_code = BAD_USAGE if code == _WRONG_USAGE else FAILED
    return ApiRefusalError("\n".join(map(shown, lines)), status, code, exit_code)


def _why_unreachable(error: Exception, target: ApiTarget) -> str:
    """What went wrong on the way, and what to do about it."""
    where = f"{target.url} ({target.named_by})"
    match error:
        case TimeoutError():
            return f"{where} did not answer in time. Try again, or check that it is the API's URL."
        case aiohttp.ClientConnectorDNSError():
            return f"{where}: the name is not in the DNS. Check its spelling, and this machine's network."
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
            return (
                f"{where}: its certificate is not valid: {shown(why)}. If your own authority has signed it, name a PEM "
                "file with that in SSL_CERT_FILE."
            )
        case aiohttp.ClientConnectorSSLError():
            return f"{where} does not speak TLS as it should: {shown(error.os_error)}. Is it https, on this port?"
        case aiohttp.ClientConnectorError():
            return f"{where} cannot be reached: {_reason(error.os_error)}. Does the service run, on this port?"
        case _:
            return f"{where} answered with something that is not HTTP, or the connection ended: {shown(error)}"


def _reason(error: OSError) -> str:
    """The system's own words; asyncio's begin with the address, or name only it."""
    return os.strerror(error.errno).lower() if error.errno else shown(error)


def _asked_to_wait(reply: aiohttp.ClientResponse) -> int | None:
    if reply.status not in _WAIT:
        return None
    return retry_after_seconds(tuple(reply.headers.getall("Retry-After", ())), datetime.now(UTC))


async def _read(reply: aiohttp.ClientResponse, target: ApiTarget) -> bytes:
    raw = bytearray()
    async for chunk in reply.content.iter_any():
        raw += chunk
        if len(raw) > REPLY_BYTES_MAX:
            raise CommandError(f"{target.url} answered with more than {REPLY_BYTES_MAX} bytes.")
    return bytes(raw)


def _decoded(raw: bytes, decode: Decode, target: ApiTarget) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return decode(raw)
    except (ValueError, RecursionError):
        raise CommandError(
            f"{target.url} ({target.named_by}) answered with no JSON. Is it the API's URL?", BAD_USAGE
        ) from None


def _parameters(query: Query) -> dict[str, str]:
    return {name: _written(value) for name, value in query.items() if value is not None}


def _written(value: Value) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str() | int():
            return str(value)
        case _:
            return ",".join(value)


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this URL. aiohttp's own way would send what ~/.netrc has, too."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)
