"""An ID for every request, on its response and in its log lines."""

import re
import uuid
from collections.abc import Callable
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

REQUEST_ID_HEADER: Final = "X-Request-ID"
REQUEST_ID: Final = web.RequestKey("request_id", str)

NewRequestId = Callable[[], str]

_ACCEPTABLE = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def random_request_id() -> str:
    """Return a new request ID."""
    return f"req_{uuid.uuid4().hex}"


def request_id_middleware(new_request_id: NewRequestId) -> Middleware:
    """Give each request an ID: the caller's ``X-Request-ID`` if it is well-formed, else a new one."""

    @web.middleware
    async def name_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get(REQUEST_ID_HEADER, "")
        request_id = given if _ACCEPTABLE.fullmatch(given) else new_request_id()
        request[REQUEST_ID] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            return await handler(request)

    return name_request


async def show_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Add the request ID to the response."""
    request_id = request.get(REQUEST_ID)
    if request_id is not None:
        response.headers[REQUEST_ID_HEADER] = request_id
