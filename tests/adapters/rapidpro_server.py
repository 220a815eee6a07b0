"""A server that answers as RapidPro's API does: tokens, cursors, and a throttle."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

TOKEN = "d5f4a3c2b1"
CREATED_ON = "2024-03-01T10:00:00.000000Z"


def subscriber(number: int, resthook: str, target_url: str) -> dict[str, Any]:
    return {"id": number, "resthook": resthook, "target_url": target_url, "created_on": CREATED_ON}


def resthook(slug: str) -> dict[str, Any]:
    return {"resthook": slug, "modified_on": CREATED_ON, "created_on": CREATED_ON}


Trouble = Callable[[web.Request], web.Response | None]


@dataclass
class RapidProServer:
    """``troubles`` are asked first, one for each request, the first one first; None lets the request through."""

    resthooks: Sequence[dict[str, Any]] = ()
    subscribers: Sequence[dict[str, Any]] = ()
    page_size: int = 250
    troubles: list[Trouble] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(str(request.rel_url))
        if self.troubles and (trouble := self.troubles.pop(0)(request)) is not None:
            return trouble
        if request.headers.get("Authorization") != f"Token {TOKEN}":
            return web.json_response({"detail": "Invalid token"}, status=403)
        found = self.resthooks if request.path.endswith("/resthooks.json") else self.subscribers
        start = int(request.query.get("cursor", "0"))
        end = start + self.page_size
        following = f"{self.url}{request.path}?cursor={end}" if end < len(found) else None
        return web.json_response({"next": following, "previous": None, "results": list(found[start:end])})


def throttled(retry_after: str) -> Trouble:
    detail = "Request was throttled. Expected available in 3600 seconds."
    return lambda _: web.json_response({"detail": detail}, status=429, headers={"Retry-After": retry_after})


def status(number: int, **headers: str) -> Trouble:
    return lambda _: web.Response(status=number, headers=headers)


@asynccontextmanager
async def rapidpro(**options: Any) -> AsyncIterator[RapidProServer]:
    server = RapidProServer(**options)
    app = web.Application()
    for name in ("resthooks", "resthook_subscribers"):
        app.router.add_get(f"/api/v2/{name}.json", server.answer)
    async with TestServer(app) as running:
        server.url = str(running.make_url("")).rstrip("/")
        yield server
