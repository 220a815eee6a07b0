"""The surface as a sub-application, with the order in which a request is checked.

Token, method, permission, throttle, body: this is RapidPro's order, which clients' tests rely on.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from aiohttp import web

from service.api.cors import ALIEN, TRUSTED_SITE, has_browser_login
from service.api.entrance.entrance import Entrance
from service.api.entrance.rate_limit import RateLimit
from service.api.entrance.strays import count_strays
from service.api.errors import ApiError
from service.api.patience import Patience
from service.api.v2.bodies import MEDIA_TYPES
from service.api.v2.credentials import authenticate_token
from service.api.v2.links import Links
from service.api.v2.lists import Lists
from service.api.v2.pages import HTML, RESOURCE_PAGES, Pages, is_acceptable, prefers_html
from service.api.v2.refusal import (
    NOT_AUTHENTICATED,
    OTHER_SITE,
    PERMISSION_DENIED,
    RefusalError,
    json_response,
    refusal,
    refusal_middleware,
)
from service.api.v2.resource import Resource, ResourceCall, Verb
from service.api.v2.subscribers import Subscribers
from service.api.validation import JSON, read_body
from service.api.vary import add_vary
from service.core.keys.api_key import StoredKey
from service.ports.desk import EndpointDesk, ResthookDesk
from service.ports.errors import UnavailableError
from service.ports.observer import Observer

PAGE_SIZE: Final = 250

NOT_ACCEPTABLE: Final = "Could not satisfy the request Accept header."

_ALLOW: Final = web.RequestKey("allow", str)
_SUFFIX: Final = r"{suffix:(?:\.json/?)?}"


def make_v2(
    endpoints: EndpointDesk,
    resthooks: ResthookDesk,
    entrance: Entrance,
    observer: Observer,
    public_url: str | None,
    *,
    page_size: int = PAGE_SIZE,
) -> web.Application:
    """Build the application to be mounted at ``PREFIX``. ``public_url`` is where callers find the service."""
    app = web.Application(middlewares=[refusal_middleware(observer), count_strays(entrance)])
    app.on_response_prepare.append(_show_methods)
    links, pages = Links(public_url), Pages()
    for resource in _resources(endpoints, resthooks, links, page_size):
        app.router.add_route("*", f"{resource.path}{_SUFFIX}", _Route(entrance, resource, pages, links).answer)
    for resource in _open_resources(pages, links):
        app.router.add_route("*", resource.path, _Route(entrance, resource, pages, links).answer_anybody)
    return app


def _resources(endpoints: EndpointDesk, resthooks: ResthookDesk, links: Links, page_size: int) -> Sequence[Resource]:
    lists, subscribers = Lists(resthooks, links, page_size), Subscribers(endpoints)
    return (
        Resource("/resthooks", {"GET": lists.resthooks}, "resthooks"),
        Resource(
            "/resthook_subscribers",
            {"GET": lists.subscribers, "POST": subscribers.create, "DELETE": subscribers.delete},
            "resthook_subscribers",
        ),
        Resource("/resthook_subscribers/{id:[0-9]+}", {"DELETE": subscribers.delete}),
        Resource("/resthook_events", {"GET": lists.events}, "resthook_events"),
    )


def _open_resources(pages: Pages, links: Links) -> Sequence[Resource]:
    """Resources without a key: the documentation, and redirects from paths without the trailing slash."""

    async def root(call: ResourceCall) -> web.Response:
        if prefers_html(call.request):
            return pages.page("root", call.request)
        return json_response({page: links.to(call.request, f"/{page}") for page in RESOURCE_PAGES})

    async def explorer(call: ResourceCall) -> web.Response:
        return pages.page("explorer", call.request)

    async def file(call: ResourceCall) -> web.Response:
        return pages.file(call.request.match_info["name"], call.request)

    async def to_root(_: ResourceCall) -> web.Response:
        return _to("v2/")

    async def to_explorer(_: ResourceCall) -> web.Response:
        return _to("explorer/")

    return (
        Resource("/", {"GET": root}),
        Resource("/explorer/", {"GET": explorer}),
        Resource("/static/{name}", {"GET": file}),
        Resource("", {"GET": to_root}),
        Resource("/explorer", {"GET": to_explorer}),
    )


def _to(place: str) -> web.Response:
    """Redirect to a relative path, which works under any prefix."""
    return web.Response(status=301, headers={"Location": place})


class _Route:
    """The handler of one resource."""

    def __init__(self, entrance: Entrance, resource: Resource, pages: Pages, links: Links) -> None:
        self._entrance = entrance
        self._resource = resource
        self._pages = pages
        self._links = links

    async def answer(self, request: web.Request) -> web.Response:
        """Check the request, then run it. The documentation needs no key; its empty JSON stand-in does."""
        request[_ALLOW] = self._resource.allow
        patience = Patience()
        await self._negotiate(request, patience)
        key, standing = await patience.wait(self._enter(request))
        verb = self._verb(request)
        is_documentation = verb is self._resource.verbs.get("GET") and not request.match_info["suffix"]
        if is_documentation and self._resource.page is not None and prefers_html(request):
            return self._pages.page(self._resource.page, request)
        if key is None or standing is None:
            raise refusal(403, NOT_AUTHENTICATED)
        is_read = request.method == "GET"
        if not is_read:
            _refuse_other_sites(request)
        if ("read" if is_read else "write") not in key.scopes:
            raise refusal(403, PERMISSION_DENIED)
        standing.admit()
        if is_documentation:
            return json_response([])
        if is_read:
            return await patience.wait(_settled(verb, ResourceCall(request, key)))
        body = await read_body(request)
        run = partial(_settled, verb, ResourceCall(request, key, body))
        return await patience.wait(self._entrance.once(request, key, body, run))

    async def answer_anybody(self, request: web.Request) -> web.Response:
        """Check what can be checked without a key, then run the request."""
        request[_ALLOW] = self._resource.allow
        await Patience().wait(self._enter(request))
        if request.method == "OPTIONS":
            return json_response({"renders": [JSON], "parses": list(MEDIA_TYPES)})
        return await self._verb(request, is_open=True)(ResourceCall(request, None))

    async def _negotiate(self, request: web.Request, patience: Patience) -> None:
        """Raise ``RefusalError`` (406) if the caller takes nothing that there is; a valid key is counted all the same.

        A path with a suffix has JSON only, the documentation is a page.
        """
        suffix, has_page = request.match_info.get("suffix"), self._resource.page is not None
        if not is_acceptable(request, *((JSON, HTML) if has_page and not suffix else (JSON,))):
            with suppress(RefusalError, ApiError, UnavailableError):
                await patience.wait(self._enter(request))
            raise refusal(406, NOT_ACCEPTABLE)

    async def _enter(self, request: web.Request) -> tuple[StoredKey | None, RateLimit | None]:
        """The caller's key, and where it stands: counted at once, so that every answer to a key shows the limit."""
        key = await authenticate_token(request, self._entrance)
        return key, await self._entrance.count(request, key) if key is not None else None

    def _verb(self, request: web.Request, *, is_open: bool = False) -> Verb:
        """Return the method's handler. Raises ``RefusalError`` (405).

        Where a key is needed, RapidPro refuses HEAD and OPTIONS, although its Allow lists them.
        """
        method = "GET" if is_open and request.method == "HEAD" else request.method
        verb = self._resource.verbs.get(method)
        if verb is None:
            raise refusal(405, f'Method "{method}" not allowed.')
        return verb


def _refuse_other_sites(request: web.Request) -> None:
    """A browser sends a stored Basic login by itself, so another site must not be able to make it change things."""
    is_trusted = request.get(TRUSTED_SITE) and not has_browser_login(request)
    if request[ALIEN] and not is_trusted:
        raise refusal(403, OTHER_SITE)


async def _show_methods(request: web.Request, response: web.StreamResponse) -> None:
    """Add what Django REST framework adds to every answer, errors included."""
    allow = request.get(_ALLOW)
    if allow is not None:
        response.headers["Allow"] = allow
        add_vary(response, "Accept")


async def _settled(verb: Verb, call: ResourceCall) -> web.Response:
    """Return the verb's answer, refusals included: an Idempotency-Key stores them like any other answer."""
    try:
        return await verb(call)
    except RefusalError as error:
        return error.response()
