"""The pages' aiohttp application, mounted beside the API's surfaces."""

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl, quote

from aiohttp import web
from aiohttp.typedefs import Handler as HttpHandler
from aiohttp.typedefs import Middleware

from service.api.documents.served import Served
from service.api.entrance.entrance import Entrance
from service.api.errors import ApiError, Code, invalid
from service.api.export.sending import send
from service.api.inside import Inside
from service.api.patience import Patience
from service.api.request_id import REQUEST_ID
from service.api.validation import is_storable, read_body, require_media_type
from service.core.session import Session
from service.ports.errors import UnavailableError
from service.ports.observer import Observer, Trouble
from service.ports.oversight import BrokerDesk
from service.ports.sessions import SessionDesk
from service.web.aside import Aside, Counts
from service.web.cookie import session_digest
from service.web.entering import Entering, base_of, home
from service.web.guard import page_headers, require_own_page
from service.web.page import FORM_FIELDS_MAX, PREFIX, SAFE, Download, Form, Moved, Page, Result, Shown, Visit, not_found
from service.web.rendering import STATIC, compile_all, render, static_file
from service.web.visitors import Visitors

FORM: Final = "application/x-www-form-urlencoded"
FORM_BYTES_MAX: Final = 512 * 1024
"""A mended event may be a quarter of a megabyte, and a form triples what is not ASCII."""
_FOREVER: Final = "public, max-age=31536000, immutable"
"""The address of a file has the digest of what is in it."""

_TOLD: Final = frozenset({"Allow", "Retry-After"})
"""The headers of a refusal that its page has, too."""
_SENTENCES: Final[Mapping[int, str]] = MappingProxyType(
    {
        404: "There is nothing here",
        403: "This is not allowed",
        429: "Too many requests",
        503: "This could not be read",
    }
)


class WebApp:
    """Lets visitors in, and shows them their pages. ``configured_url`` is PUBLIC_URL."""

    def __init__(
        self,
        inside: Inside,
        desk: SessionDesk,
        entrance: Entrance,
        observer: Observer,
        configured_url: str | None,
        broker: BrokerDesk | None = None,
    ) -> None:
        self._inside = inside
        self._desk = desk
        self._visitors = Visitors(desk)
        self._entrance = entrance
        self._observer = observer
        self._configured_url = configured_url
        self._aside = Aside(broker)

    def application(self, pages: Sequence[Page], *, embed_origins: Collection[str]) -> web.Application:
        """Build the application. ``embed_origins`` are the sites whose pages may show ours in a frame."""
        compile_all()
        app = web.Application(middlewares=[self._errors()])
        app.on_response_prepare.append(page_headers(embed_origins))
        entering = Entering(self._desk, self._visitors, self._entrance, self._configured_url, read_form)
        app.router.add_get("", self._begin)
        app.router.add_get("/sign-in", entering.show)
        app.router.add_post("/sign-in", self._patiently(entering.sign_in))
        app.router.add_get("/enter/{token}", self._patiently(entering.follow), allow_head=False)
        app.router.add_post("/sign-out", self._patiently(entering.sign_out))
        for name, content_type in STATIC.items():
            app.router.add_get(f"/static/{name}", _file(name, content_type))
        for page in pages:
            app.router.add_route(page.method, page.full_path, self._page(page))
        return app

    def _page(self, page: Page) -> HttpHandler:
        async def show(request: web.Request) -> web.StreamResponse:
            if page.method not in SAFE:
                require_own_page(request, self._configured_url)
            patience = Patience()
            session = await patience.wait(self._enter(request))
            if session is None:
                return self._to_sign_in(request)
            organization_id = request.match_info.get("organization", "")
            _require_sight(session, page, organization_id)
            form = Form(()) if page.method in SAFE else await read_form(request)
            base = base_of(request, self._configured_url)
            visit = Visit(request, session, self._inside, base, organization_id, form)
            if page.seconds_max is not None:
                patience = Patience(page.seconds_max)
            result = await patience.wait(_result(page, visit))
            if isinstance(result, Download):
                return await self._send(result, visit)
            counts = await self._counts(result, visit)
            return self._answer(result, visit, page.section, counts)

        return show

    async def _enter(self, request: web.Request) -> Session | None:
        digest = session_digest(request, self._configured_url)
        session = await self._visitors.find(digest, request.remote) if digest is not None else None
        if session is not None and session.guest.organization_id is not None:
            (await self._entrance.count_page(request, session.guest.organization_id)).admit()
        return session

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        """The first page of whoever is signed in; the form for the others."""
        session = await Patience().wait(self._enter(request))
        if session is None:
            return self._to_sign_in(request)
        where = home(base_of(request, self._configured_url), session.guest.organization_id)
        return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": where})

    def _to_sign_in(self, request: web.Request) -> web.Response:
        base = base_of(request, self._configured_url)
        wanted = f"?next={quote(base + request.rel_url.raw_path_qs.removeprefix(PREFIX), safe='')}"
        location = f"{base}/sign-in{wanted if request.method in SAFE else ''}"
        return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": location})

    async def _send(self, wanted: Download, visit: Visit) -> web.StreamResponse:
        """Send the list as it is read. Each page of it is let in and counted like a page that is shown."""

        async def let_in() -> None:
            if await self._enter(visit.request) is None:
                raise ApiError(401, Code.INVALID_API_KEY, "The session has ended. Sign in again.")

        at = datetime.now(UTC)
        export = self._inside.export(wanted.operation, visit.caller, query=wanted.query, at=at, let_in=let_in)
        return await send(visit.request, visit.organization_id, export)

    async def _counts(self, result: Shown | Moved, visit: Visit) -> Counts:
        if isinstance(result, Moved) or not result.title:
            return Counts()
        return await self._aside.of(visit, result.failing_count)

    def _answer(self, result: Shown | Moved, visit: Visit, section: str, counts: Counts) -> web.Response:
        if isinstance(result, Moved):
            return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": result.location})
        context = {"visit": visit, "section": section, "title": result.title, "counts": counts, **result.context}
        return web.Response(text=render(result.template, context), status=result.status, content_type="text/html")

    def _patiently(self, handler: Callable[[web.Request], Coroutine[Any, Any, web.Response]]) -> HttpHandler:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await Patience().wait(handler(request))

        return handle

    def _errors(self) -> Middleware:
        @web.middleware
        async def show_errors(request: web.Request, handler: HttpHandler) -> web.StreamResponse:
            try:
                return await handler(request)
            except ApiError as error:
                refused = error
            except web.HTTPException as error:
                if error.status < HTTPStatus.BAD_REQUEST:
                    raise
                refused = _refused_by_router(error)
            except UnavailableError as error:
                self._observer.tell(Trouble("web", error))
                sentence = "The database did not answer in time. Reload the page."
                refused = ApiError(503, Code.UNAVAILABLE, sentence, headers={"Retry-After": "1"})
            except Exception as error:  # noqa: BLE001 - the boundary: every failure gets a page
                self._observer.tell(Trouble("web", error))
                refused = ApiError(500, Code.INTERNAL_ERROR, "Something went wrong on our side.")
            return self._refusal(request, refused)

        return show_errors

    def _refusal(self, request: web.Request, error: ApiError) -> web.Response:
        context: dict[str, Any] = {
            "base": base_of(request, self._configured_url),
            "title": _SENTENCES.get(error.status, "This did not work"),
            "sentence": error.sentence,
            "errors": error.errors,
            "request_id": request.get(REQUEST_ID, ""),
        }
        headers = {name: value for name, value in error.headers.items() if name in _TOLD}
        text = render("error.html", context)
        return web.Response(text=text, status=error.status, content_type="text/html", headers=headers)


def _refused_by_router(error: web.HTTPException) -> ApiError:
    if error.status == HTTPStatus.NOT_FOUND:
        return not_found()
    return ApiError(error.status, Code.VALIDATION_ERROR, f"{error.reason}.", headers=dict(error.headers))


async def read_form(request: web.Request) -> Form:
    """Read a form. Raises ``ApiError`` (400, 408, 413, 415) for what is none, is too large, or cannot be stored."""
    require_media_type(request, FORM)
    body = await read_body(request, FORM_BYTES_MAX)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS_MAX)
    except ValueError:
        raise invalid("The form cannot be read.") from None
    if not all(is_storable(each) for pair in pairs for each in pair):
        raise invalid("The form has a character that cannot be stored (U+0000).")
    return Form([(name, value.replace("\r\n", "\n")) for name, value in pairs])


async def _result(page: Page, visit: Visit) -> Result:
    return await page.handler(visit)


def _require_sight(session: Session, page: Page, organization_id: str) -> None:
    """Raise ``ApiError`` (404) for a page of somebody else: whether it exists is not told; 403 without its scope.

    The operation asks for its scope again. Here none of what a page does before it has begun.
    """
    guest = session.guest
    if not is_storable(organization_id):
        raise not_found()
    if not guest.is_operator and (page.is_of_service or guest.organization_id != organization_id):
        raise not_found()
    if page.needs not in guest.scopes:
        sentence = f"This needs the scope {page.needs}, which your session does not have. Nothing was changed."
        raise ApiError(403, Code.PERMISSION_DENIED, sentence)


def _file(name: str, content_type: str) -> HttpHandler:
    served = Served.of(static_file(name), content_type)

    async def show(request: web.Request) -> web.StreamResponse:
        response = served.answer(request)
        if "v" in request.query:
            response.headers["Cache-Control"] = _FOREVER
        return response

    return show
