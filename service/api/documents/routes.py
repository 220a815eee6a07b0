"""Routes that serve the documents; none of them needs a key."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web
from markupsafe import escape
from pydantic_core import to_json

from service import __version__
from service.api.documents.openapi import openapi_document
from service.api.documents.page.page import BASE_URL, STATIC, docs_page, receiving_page, static_file
from service.api.documents.postman import postman_collection
from service.api.documents.receivers import VERIFIERS, receiver_routes, single_file, verifier
from service.api.documents.served import Served
from service.api.documents.sharing import self_contained
from service.api.operation import Operation
from service.api.public_url import public_url
from service.core.events.schema import DescribedType, envelope_schema

_PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

_KEPT_URLS_MAX: Final = 8
"""Documents are kept ready for so many base URLs: whoever asks names it, but a deployment has one or two."""

Handler = Callable[[web.Request], Awaitable[web.Response]]


def openapi_of(operations: Sequence[Operation], types: Sequence[DescribedType]) -> dict[str, Any]:
    """The OpenAPI document, but for the server's address."""
    written = {"PublishedEnvelope": envelope_schema(is_published=True)}
    return openapi_document(operations, version=__version__, envelope_schemas=written, types=types)


def document_routes(
    operations: Sequence[Operation],
    types: Sequence[DescribedType],
    *,
    configured_url: str | None,
    asyncapi: Mapping[str, Any],
) -> Sequence[web.RouteDef]:
    """Build the routes. ``configured_url`` is PUBLIC_URL."""
    made = openapi_of(operations, types)
    samples = {each.name: each.sample for each in types if each.sample is not None}

    def openapi() -> dict[str, Any]:
        contact = {"name": "Whoever runs this service", "url": f"{BASE_URL}/docs"}
        servers = [{"url": BASE_URL, "description": "This service."}]
        return made | {"info": made["info"] | {"contact": contact}, "servers": servers}

    def as_json(make: Callable[[], Mapping[str, Any]]) -> Handler:
        return _show(lambda: to_json(make(), indent=2), "application/json", configured_url, spelled=_in_json)

    def page() -> bytes:
        verifiers = {language: verifier(name) for name, language in VERIFIERS.items()}
        digest = hashlib.sha256(single_file()).hexdigest()
        return docs_page(openapi(), samples=samples, verifiers=verifiers, digest=digest).encode()

    def guide() -> bytes:
        return receiving_page(openapi()).encode()

    async def show_the_way(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "docs"})  # relative, so that it works behind a path prefix

    return (
        web.get("/", show_the_way),
        web.get("/openapi.json", as_json(openapi)),
        web.get("/postman.json", as_json(lambda: postman_collection(self_contained(openapi())))),
        web.get("/asyncapi.json", as_json(lambda: asyncapi)),
        web.get("/docs", _show(page, "text/html", configured_url, spelled=escape, headers=_PAGE_HEADERS)),
        web.get("/docs/receiving", _show(guide, "text/html", configured_url, spelled=escape, headers=_PAGE_HEADERS)),
        *(web.get(f"/docs/{name}", _show_file(name)) for name in STATIC),
        *receiver_routes(),
    )


def _in_json(text: str) -> str:
    return to_json(text).decode()[1:-1]


def _show(
    make: Callable[[], bytes],
    content_type: str,
    configured_url: str | None,
    *,
    spelled: Callable[[str], str],
    headers: Mapping[str, str] = _NO_HEADERS,
) -> Handler:
    """Show what ``make`` writes, with the server's address for ``BASE_URL``, ``spelled`` as the document needs it.

    It is made at the first request and once, in a thread, as it takes longer than the loop may wait. Whoever asks may
    name addresses without end, so only one is put in at a time.
    """
    made = lru_cache(1)(make)

    @lru_cache(_KEPT_URLS_MAX)
    def ready(base_url: str) -> Served:
        return Served.of(made().replace(BASE_URL.encode(), spelled(base_url).encode()), content_type)

    turn = asyncio.Lock()

    async def show(request: web.Request) -> web.Response:
        async with turn:
            served = await asyncio.to_thread(ready, public_url(request, configured_url))
        return served.answer(request, **headers)

    return show


def _show_file(name: str) -> Handler:
    served = Served.of(static_file(name), STATIC[name])

    async def show(request: web.Request) -> web.Response:
        return served.answer(request)

    return show
