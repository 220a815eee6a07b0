"""What the shared parts refuse, in the words of this surface."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from service.api.errors import ApiError, Code
from service.api.v2.refusal import refusal_middleware
from service.ports.errors import UnavailableError, UrlKeyUnopenableError
from tests.api.conftest import Troubles


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (
            ApiError(429, Code.RATE_LIMIT_EXCEEDED, "too many", headers={"Retry-After": "1"}),
            429,
            {"detail": "Request was throttled. Expected available in 1 second."},
        ),
        (
            ApiError(429, Code.RATE_LIMIT_EXCEEDED, "too many", headers={"Retry-After": "3600"}),
            429,
            {"detail": "Request was throttled. Expected available in 3600 seconds."},
        ),
        (ApiError(401, Code.INVALID_API_KEY, "no", headers={"WWW-Authenticate": "Bearer"}), 403, {"detail": "no"}),
        (ApiError(422, Code.IDEMPOTENCY_KEY_REUSED, "reused"), 400, {"detail": "reused"}),
        (
            ApiError(409, Code.CONFLICT, "running", headers={"Retry-After": "1"}),
            409,
            {"detail": "running"},
        ),
        (ApiError(400, Code.VALIDATION_ERROR, "bad", errors={"a.b": ["c"]}), 400, {"detail": "bad"}),
        (web.HTTPNotFound(), 404, {"detail": "Not found."}),
        (web.HTTPRequestEntityTooLarge(1, 2), 413, {"detail": "Request Entity Too Large"}),
        (
            UnavailableError("away"),
            503,
            {"detail": "The service cannot reach its database now. Try again."},
        ),
        (
            UrlKeyUnopenableError("away"),
            503,
            {"detail": "The service lacks the key of your URLs with a query. Its operator has to put it back."},
        ),
        (RuntimeError("cause"), 500, {"detail": "Something went wrong on our side."}),
    ],
)
async def test_a_refusal_is_told(error: Exception, status: int, body: dict[str, str]) -> None:
    async def fail(_: web.Request) -> web.Response:
        raise error

    troubles = Troubles()
    app = web.Application(middlewares=[refusal_middleware(troubles)])
    app.router.add_get("/", fail)
    async with TestClient(TestServer(app)) as client, client.get("/") as response:
        assert (response.status, await response.json()) == (status, body)
        assert "WWW-Authenticate" not in response.headers
        given = error.headers if isinstance(error, ApiError) else {}
        if status in {409, 429, 503}:
            assert response.headers["Retry-After"] == given.get("Retry-After", "1")
    assert troubles.heard == ([error] if status >= 500 else [])


async def test_a_redirection_is_none() -> None:
    async def lead(_: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    app = web.Application(middlewares=[refusal_middleware(Troubles())])
    app.router.add_get("/", lead)
    async with TestClient(TestServer(app)) as client, client.get("/", allow_redirects=False) as response:
        assert response.status == 302
