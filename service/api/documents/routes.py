"""Routes that serve the documents; none of them needs a key."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from aiohttp import web
from markupsafe import escape
from pydantic_core import to_json

from service import __version__
from service.api.documents.openapi import openapi_document
from service.api.documents.page.page import BASE_URL, STATIC, docs_page, static_file
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

    def openapi(base_url: str) -> dict[str, Any]:
        contact = {"name": "Whoever runs this service", "url": f"{base_url}/docs"}
        servers = [{"url": base_url, "description": "This service."}]
        return made | {"info": made["info"] | {"contact": contact}, "servers": servers}

    def in_place(base_url: str) -> dict[str, Any]:
        return self_contained(openapi(base_url))

    def as_json(make: Callable[[str], Mapping[str, Any]]) -> Handler:
        @lru_cache(_KEPT_URLS_MAX)
        def ready(base_url: str) -> Served:
            return Served.of(to_json(make(base_url), indent=2), "application/json")

        async def show(request: web.Request) -> web.Response:
            served = await asyncio.to_thread(ready, public_url(request, configured_url))
            return served.answer(request)

        return show

    def page() -> str:
        verifiers = {language: verifier(name) for name, language in VERIFIERS.items()}
        digest = hashlib.sha256(single_file()).hexdigest()
        return docs_page(openapi(BASE_URL), samples=samples, verifiers=verifiers, digest=digest)

    async def show_the_way(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "docs"})  # relative, so that it works behind a path prefix

    return (
        web.get("/", show_the_way),
        web.get("/openapi.json", as_json(openapi)),
        web.get("/postman.json", as_json(lambda base_url: postman_collection(in_place(base_url)))),
        web.get("/asyncapi.json", as_json(lambda _: asyncapi)),
        web.get("/docs", _show_page(page, configured_url)),
        *(web.get(f"/docs/{name}", _show_file(name)) for name in STATIC),
        *receiver_routes(),
    )


def _show_page(render: Callable[[], str], configured_url: str | None) -> Handler:
    """Rendered at the first request and once, in a thread, as it takes longer than the loop may wait."""
    rendered = lru_cache(1)(render)

    @lru_cache(_KEPT_URLS_MAX)
    def ready(base_url: str) -> Served:
        return Served.of(rendered().replace(BASE_URL, str(escape(base_url))).encode(), "text/html")

    turn = asyncio.Lock()

    async def show(request: web.Request) -> web.Response:
        async with turn:  # whoever comes meanwhile finds it rendered
            await asyncio.to_thread(rendered)
        page = await asyncio.to_thread(ready, public_url(request, configured_url))
        return page.answer(request, **_PAGE_HEADERS)

    return show


def _show_file(name: str) -> Handler:
    served = Served.of(static_file(name), STATIC[name])

    async def show(request: web.Request) -> web.Response:
        return served.answer(request)

    return show
