"""Routes that serve the documents; none of them needs a key."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from aiohttp import web
from pydantic_core import to_json

from service import __version__
from service.api.documents.openapi import openapi_document
from service.api.documents.page import docs_page, stylesheet
from service.api.documents.postman import postman_collection
from service.api.documents.receivers import receiver_routes
from service.api.documents.served import Served
from service.api.documents.sharing import self_contained
from service.api.operation import Operation
from service.api.public_url import public_url
from service.core.events.schema import DescribedType, envelope_schema

_PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"
}

_KEPT_URLS_MAX: Final = 8
"""Documents are kept ready for so many base URLs: whoever asks names it, but a deployment has one or two."""

Handler = Callable[[web.Request], Awaitable[web.Response]]


def openapi_of(operations: Sequence[Operation], types: Sequence[DescribedType]) -> dict[str, Any]:
    """The OpenAPI document, but for the server's address."""
    published = envelope_schema(is_published=True)
    published["required"] = ["id", *published["required"]]  # over HTTP there is no message_id to take it from
    written = {"PublishedEnvelope": published}
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

    async def show_page(request: web.Request) -> web.Response:
        base_url = public_url(request, configured_url)
        return (await asyncio.to_thread(page, base_url)).answer(request, **_PAGE_HEADERS)

    @lru_cache(_KEPT_URLS_MAX)
    def page(base_url: str) -> Served:
        text = docs_page(in_place(base_url), base_url=base_url, samples=samples)
        return Served.of(text.encode(), "text/html")

    style = Served.of(stylesheet().encode(), "text/css")

    async def show_style(request: web.Request) -> web.Response:
        return style.answer(request)

    async def show_the_way(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "docs"})  # relative, so that it works behind a path prefix

    return (
        web.get("/", show_the_way),
        web.get("/openapi.json", as_json(openapi)),
        web.get("/postman.json", as_json(lambda base_url: postman_collection(in_place(base_url)))),
        web.get("/asyncapi.json", as_json(lambda _: asyncapi)),
        web.get("/docs", show_page),
        web.get("/docs/style.css", show_style),
        *receiver_routes(),
    )
