"""An operation of ``/v1``: its path, models, answers and handler in one value.

The router, the validation and the documents are all built from these values, so they cannot disagree.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from service.api.entrance.entrance import Entrance
from service.api.errors import ApiError, Code
from service.api.validation import (
    BODY_BYTES_MAX,
    JSON,
    is_storable,
    parse_body,
    parse_query,
    read_body,
    require_media_type,
)
from service.core.api_key import StoredKey

ALWAYS_POSSIBLE: Final = frozenset({400, 401, 403, 429, 500, 503})
"""Error statuses that every operation may answer."""
NAMED_POSSIBLE: Final = frozenset({404, 409, 422})
"""Further error statuses of a request with an Idempotency-Key."""
WITH_BODY_POSSIBLE: Final = frozenset({408, 413, 415})


@dataclass(frozen=True, slots=True)
class Call:
    """One request, authorised and validated. ``query`` and ``body`` are the operation's models."""

    request: web.Request
    key: StoredKey
    query: Any = None
    body: Any = None
    body_bytes: bytes = b""

    @property
    def organization_id(self) -> str:
        """Whose data this call may see."""
        return self.key.organization_id

    def path(self, name: str) -> str:
        """Return a path parameter. Raises ``ApiError`` (404) for text that PostgreSQL cannot store."""
        part = self.request.match_info[name]
        if not is_storable(part):
            raise ApiError(404, Code.NOT_FOUND, "not found")
        return part


@dataclass(frozen=True, slots=True)
class Answer:
    """An operation's result: ``body`` is a model, ``text`` is ready-made JSON; with neither, the response is empty."""

    status: int
    body: BaseModel | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    ``answers`` maps success statuses to models; ``problems`` are the error statuses beyond ``ALWAYS_POSSIBLE``.
    ``scope`` None allows any key. ``example`` is a valid body, for the documents. With a ``body_schema`` instead of a
    model, the handler gets the body as bytes.
    """

    method: str
    path: str
    name: str
    summary: str
    scope: str | None
    handler: Callable[[Call], Awaitable[Answer]]
    answers: Mapping[int, type[BaseModel] | None]
    description: str = ""
    tag: str = ""
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_schema: Mapping[str, Any] | None = None
    media_types: tuple[str, ...] = (JSON,)
    body_bytes_max: int = BODY_BYTES_MAX
    problems: frozenset[int] = frozenset()
    example: Mapping[str, Any] | None = None

    @property
    def reads_body(self) -> bool:
        """Whether a body is expected."""
        return self.body is not None or self.body_schema is not None

    @property
    def changes(self) -> bool:
        """Whether the operation takes an Idempotency-Key."""
        return self.method in {"POST", "PATCH", "DELETE"}


def bind(operation: Operation, entrance: Entrance) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Build the aiohttp handler: authenticate, count, check scope and input, then call the operation's handler."""

    async def handle(request: web.Request) -> web.StreamResponse:
        key = await entrance.authenticate(request)
        await entrance.count(request, key)  # before any refusal, so that every response shows the limit
        if operation.scope is not None and operation.scope not in key.scopes:
            raise ApiError(403, Code.PERMISSION_DENIED, f"this API key lacks the scope {operation.scope!r}")
        body_bytes = await read_body(request, operation.body_bytes_max) if operation.reads_body else b""
        if body_bytes or operation.body_schema:
            require_media_type(request, *operation.media_types)

        async def run() -> web.Response:
            query = parse_query(operation.query, request) if operation.query else None
            body = parse_body(operation.body, body_bytes) if operation.body else None
            answer = await operation.handler(Call(request, key, query, body, body_bytes))
            return _response(answer)

        return await entrance.once(request, key, body_bytes, run) if operation.changes else await run()

    return handle


def _response(answer: Answer) -> web.Response:
    text = answer.body.model_dump_json(by_alias=True) if answer.body is not None else answer.text
    if text is None:
        return web.Response(status=answer.status, headers=answer.headers)
    return web.Response(status=answer.status, text=text, content_type=JSON, headers=answer.headers)
