"""Reads lists of a RapidPro API, page by page: with its token, its cursors, and its limits."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from yarl import URL

PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""A page has 250 entries of at most some 3 kB."""
PAGE_SECONDS_MAX: Final = 30.0
PAGES_MAX: Final = 200
TRIES_MAX: Final = 6
"""Of a page that cannot be had now, with waits between that double, or as long as the answer asks for."""
WAIT_SECONDS_MAX: Final = 3700.0
"""Its throttle counts by the hour."""

Wait = Callable[[float, str], Awaitable[None]]
"""Waits so many seconds, and says why."""


class RapidProError(Exception):
    """The API cannot be read; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list, and where the next one is; None: it was the last."""

    results: Sequence[Any]
    next_url: str | None


class RapidProReader:
    """Reads the API at ``base``, such as ``https://app.rapidpro.io``."""

    def __init__(self, session: aiohttp.ClientSession, base: URL, wait: Wait) -> None:
        self._session = session
        self._base = base
        self._wait = wait

    def first_url(self, name: str) -> str:
        """Where the list begins."""
        return str(self._base / "api/v2" / f"{name}.json")

    async def pages(self, url: str) -> AsyncIterator[Page]:
        """This page of a list, and those that follow. Raises ``RapidProError``."""
        for _ in range(PAGES_MAX):
            page = await self._page(url)
            yield page
            if page.next_url is None:
                return
            url = page.next_url
        raise RapidProError(f"the list has more than {PAGES_MAX} pages")

    async def _page(self, url: str) -> Page:
        self._require_same_origin(url)
        why = ""
        for number in range(TRIES_MAX):
            try:
                async with asyncio.timeout(PAGE_SECONDS_MAX), self._session.get(url, allow_redirects=False) as answer:
                    body = await answer.content.read(PAGE_BYTES_MAX + 1)
                    while len(body) <= PAGE_BYTES_MAX and (more := await answer.content.read(PAGE_BYTES_MAX)):
                        body += more
                    status, headers = answer.status, answer.headers
            except (aiohttp.ClientError, TimeoutError) as error:
                why, wait_seconds = f"cannot be reached: {str(error) or type(error).__name__}", 2.0**number
            else:
                if status == HTTPStatus.OK:
                    return self._read(body)
                why, wait_seconds = f"answered {status}", _wait_seconds(headers, number)
                if status != HTTPStatus.TOO_MANY_REQUESTS and status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    break
            if number + 1 < TRIES_MAX:
                await self._wait(wait_seconds, why)
        if why in {"answered 401", "answered 403"}:
            why += ": it does not accept the token, or the token's user may not see resthooks"
        elif why.startswith("answered 3"):
            why += ": it redirects; give the URL that it leads to"
        raise RapidProError(f"{URL(url).with_query(None)} {why}")

    def _read(self, body: bytes) -> Page:
        if len(body) > PAGE_BYTES_MAX:
            raise RapidProError(f"a page has more than {PAGE_BYTES_MAX} bytes")
        try:
            found = json.loads(body)
        except ValueError:
            raise RapidProError("an answer is not JSON: is this the URL of a RapidPro?") from None
        results, next_url = (found.get("results"), found.get("next")) if isinstance(found, dict) else (None, None)
        if not isinstance(results, list) or not (next_url is None or isinstance(next_url, str)):
            raise RapidProError("an answer is not a list of RapidPro's: it has no results")
        return Page(results, next_url)

    def _require_same_origin(self, url: str) -> None:
        """A page that leads elsewhere would lead the token there."""
        try:
            is_same = URL(url).origin() == self._base.origin()
        except ValueError:
            is_same = False
        if not is_same:
            raise RapidProError(
                f"a list goes on at {url[:200]!r}, which is another server: the token is not sent there"
            )


@asynccontextmanager
async def rapidpro_reader(base: URL, token: str, wait: Wait) -> AsyncIterator[RapidProReader]:
    """A reader with connections of its own."""
    headers = {"Authorization": f"Token {token}", "Accept": "application/json", "User-Agent": "posthorn"}
    async with aiohttp.ClientSession(headers=headers, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield RapidProReader(session, base, wait)


def _wait_seconds(headers: Mapping[str, str], number: int) -> float:
    asked = headers.get("Retry-After", "")
    return min(float(asked), WAIT_SECONDS_MAX) if asked.isascii() and asked.isdigit() else 2.0**number
