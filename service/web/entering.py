"""Signing in with an API key or a link, and signing out."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

from aiohttp import web

from service.api.entrance.entrance import Entrance
from service.api.errors import ApiError, Code
from service.api.public_url import public_url
from service.core.session import SESSION_MAX, TOKEN_BYTES, Guest, digest_of, is_token, new_token
from service.ports.sessions import SessionDesk
from service.web.cookie import drop_session, session_digest, set_session
from service.web.guard import require_own_page
from service.web.page import PREFIX, Form
from service.web.rendering import render
from service.web.visitors import Visitors

_MAY_NOT_READ: Final = "This key may not read, and the pages only show what a key may see. Sign in with another one."
_USED: Final = "This link was used or is older than 10 minutes. Ask for another one, where you got it."
_NOT_KNOWN: Final = "This key is unknown or was revoked."
_IN_FRAMES: Final = frozenset({"iframe", "frame", "embed", "object"})
_UPWARD: Final = frozenset({".", ".."})


@dataclass(frozen=True, slots=True)
class Entering:
    """The handlers of those who are not signed in. ``read_form`` reads a request's form, within bounds."""

    desk: SessionDesk
    visitors: Visitors
    entrance: Entrance
    configured_url: str | None
    read_form: Callable[[web.Request], Any]

    async def show(self, request: web.Request) -> web.Response:
        """Show the form that takes a key."""
        return self._way_out(request) if _is_in_foreign_frame(request) else self._form(request)

    async def sign_in(self, request: web.Request) -> web.Response:
        """Sign in with a key, which is looked up like that of any request, and kept nowhere."""
        require_own_page(request, self.configured_url)
        form: Form = await self.read_form(request)
        try:
            key = await self.entrance.key_of(form.get("key"), request.remote)
        except ApiError as refused:
            is_limited = refused.code is Code.RATE_LIMIT_EXCEEDED
            return self._form(request, refused.sentence if is_limited else _NOT_KNOWN, refused.status)
        if not key.may("read"):
            return self._form(request, _MAY_NOT_READ, 403)
        token = new_token(secrets.token_bytes(TOKEN_BYTES))
        await self._leave(request)
        await self.desk.open(token, Guest(key.organization_id, key.scopes, key.key_id), SESSION_MAX)
        response = web.Response(status=303, headers={"Location": self._landing(request, key.organization_id)})
        set_session(response, request, self.configured_url, token.text)
        return response

    async def follow(self, request: web.Request) -> web.Response:
        """Follow a link: it opens a session, once.

        The browser goes on by the page itself, not by a redirect: as that would still be part of the other site's
        navigation, the strict cookie would not be sent with it.
        """
        if _is_in_foreign_frame(request):
            return self._way_out(request)  # the link stays unused
        text = request.match_info["token"]
        token = new_token(secrets.token_bytes(TOKEN_BYTES))
        guest = await self.visitors.follow(digest_of(text), token, request.remote) if is_token(text) else None
        if guest is None:
            return self._form(request, _USED, 410)
        await self._leave(request)
        target = self._landing(request, guest.organization_id)
        shown = {"base": self._base(request), "target": target, "organization": guest.organization_id}
        page = render("entered.html", shown)
        response = web.Response(text=page, content_type="text/html", headers={"Referrer-Policy": "no-referrer"})
        response.headers["Refresh"] = f"0; url={target}"
        set_session(response, request, self.configured_url, token.text)
        return response

    async def sign_out(self, request: web.Request) -> web.Response:
        """End the session."""
        require_own_page(request, self.configured_url)
        await self._leave(request)
        response = web.Response(status=303, headers={"Location": f"{self._base(request)}/sign-in"})
        drop_session(response, request, self.configured_url)
        response.headers["Clear-Site-Data"] = '"cache"'
        return response

    async def _leave(self, request: web.Request) -> None:
        """End the session that the browser had: a new one never goes on in it."""
        digest = session_digest(request, self.configured_url)
        if digest is not None:
            await self.desk.close(digest)

    def _way_out(self, request: web.Request) -> web.Response:
        """Offer the same address in a window of its own: in a foreign frame no browser keeps the session."""
        base = self._base(request)
        shown = {"base": base, "url": base + request.rel_url.raw_path_qs.removeprefix(PREFIX)}
        return web.Response(text=render("foreign-frame.html", shown), content_type="text/html")

    def _form(self, request: web.Request, problem: str = "", status: int = 200) -> web.Response:
        context = {"base": self._base(request), "problem": problem, "next": request.query.get("next", "")}
        return web.Response(text=render("sign-in.html", context), status=status, content_type="text/html")

    def _landing(self, request: web.Request, organization_id: str | None) -> str:
        """The page that was asked for, if it is one of ours, else the first one."""
        wanted, base = request.query.get("next", ""), self._base(request)
        path = unquote(wanted.partition("?")[0])  # as the router will read it
        is_ours = wanted.startswith(f"{base}/") and wanted.isprintable() and "\\" not in wanted
        is_ours &= _UPWARD.isdisjoint(path.split("/"))  # a browser would go somewhere else
        is_ours &= not path.startswith(f"{base}/enter/")  # which would sign in as somebody else
        return wanted if is_ours else self._home(request, organization_id)

    def _home(self, request: web.Request, organization_id: str | None) -> str:
        return home(self._base(request), organization_id)

    def _base(self, request: web.Request) -> str:
        return base_of(request, self.configured_url)


def _is_in_foreign_frame(request: web.Request) -> bool:
    """Whether a page of another site shows the answer in a frame. Browsers say so over https."""
    headers = request.headers
    return headers.get("Sec-Fetch-Dest") in _IN_FRAMES and headers.get("Sec-Fetch-Site") == "cross-site"


def base_of(request: web.Request, configured_url: str | None) -> str:
    """The path of the pages as the browser sees it, behind a proxy's prefix as well."""
    path = "/".join(public_url(request, configured_url).split("/")[3:])
    return f"/{path}{PREFIX}" if path else PREFIX


def home(base: str, organization_id: str | None) -> str:
    """The first page of whoever signs in."""
    return f"{base}/service" if organization_id is None else f"{base}/o/{quote(organization_id, safe='')}/overview"
