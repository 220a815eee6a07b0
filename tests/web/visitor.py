"""Somebody in front of the pages: a client that keeps its cookie, as a browser does, and says where forms come from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.requests.sessions import SessionStore
from service.core.audit.actor import POSTHORN
from service.core.session import SESSION_MAX, Guest, new_token
from tests.api.conftest import Client
from tests.api.whole_rig import OWNER, Whole

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
_COOKIE = re.compile(r"posthorn=([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Seen:
    """What the browser shows."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def location(self) -> str:
        return self.headers["Location"]

    @property
    def title(self) -> str:
        found = re.search(r"<h1[^>]*>(.*?)</h1>", self.text, re.DOTALL)
        assert found is not None, self.text
        return Markup(found[1]).striptags()  # noqa: S704 - read, never shown

    @property
    def words(self) -> str:
        """All text, without the markup."""
        body = re.sub(r"<(script|style)\b.*?</\1>", "", self.text, flags=re.DOTALL)
        return Markup(body).striptags()  # noqa: S704 - read, never shown


@dataclass
class Visitor:
    """``token`` is what the browser keeps in its cookie."""

    client: Client
    token: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> Seen:
        return await self._ask("GET", path, headers)

    async def post(self, path: str, form: Mapping[str, Any] | None = None, **headers: str) -> Seen:
        several = {name: [value] if isinstance(value, str) else value for name, value in (form or {}).items()}
        pairs = [(name, each) for name, values in several.items() for each in values]
        return await self._ask("POST", path, {**SAME_ORIGIN, **headers}, data=pairs)

    async def _ask(self, method: str, path: str, headers: Mapping[str, str], **options: Any) -> Seen:
        cookies = {"Cookie": f"posthorn={self.token}"} if self.token else {}
        if options.get("data") == []:
            options["data"] = b""
            cookies["Content-Type"] = "application/x-www-form-urlencoded"
        self.client.session.cookie_jar.clear()  # several visitors share the client
        async with self.client.request(
            method, path, headers={**self.headers, **cookies, **headers}, allow_redirects=False, **options
        ) as response:
            seen = Seen(response.status, await response.text(), response.headers)
        for each in seen.headers.getall("Set-Cookie", []):  # type: ignore[attr-defined] # aiohttp's are multidicts
            found = _COOKIE.search(each)
            self.token = found[1] if found else None if 'posthorn=""' in each else self.token
        return seen


async def signed_in(whole: Whole, *, by: str = OWNER, key: str | None = None) -> Visitor:
    """A visitor who signed in with a key of the organization."""
    visitor = Visitor(whole.client)
    seen = await visitor.post("/dashboard/sign-in", {"key": key or whole.keys[by].text})
    assert seen.status == 303, seen.text
    return visitor


async def operators_link(engine: AsyncEngine, *scopes: str) -> str:
    """The path of a link that signs an operator in, as a command makes it; by default one who may also write."""
    token = new_token(uuid4().bytes + uuid4().bytes)
    guest = Guest(None, frozenset(scopes or ("read", "write")), made_by="me@here")
    await SessionStore(engine).make_link(token, guest, SESSION_MAX, by=POSTHORN)
    return f"/dashboard/enter/{token.text}"


async def operator(whole: Whole, *scopes: str) -> Visitor:
    """An operator who followed such a link."""
    visitor = Visitor(whole.client)
    assert (await visitor.get(await operators_link(whole.engine, *scopes))).status == 200
    return visitor
