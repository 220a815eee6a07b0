"""An operation of the native API: one value says its path, its models and its answers, and does the work.

The router, the validation and the documents are all made from these values, so none of them can say otherwise.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from service.api.entrance import Entrance
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
"""Error statuses that every operation with a key may answer."""
NAMED_POSSIBLE: Final = frozenset({404, 409, 422})
"""What an Idempotency-Key may add to them."""
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
        """A part of the path. Raises ``ApiError`` (404) for one that nothing in the database can be called."""
        part = self.request.match_info[name]
        if not is_storable(part):
            raise ApiError(404, Code.NOT_FOUND, "there is nothing here")
        return part


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation came to. ``body`` is a model; ``text`` its JSON, where that is at hand; neither: no content."""

    status: int
    body: BaseModel | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    ``answers`` names the model of each status it may succeed with; ``problems`` the error statuses beyond
    ``ALWAYS_POSSIBLE``. ``scope`` None means any key. ``example`` is a body that works, for the documents. A body
    with a ``body_schema`` instead of a model reaches the handler as bytes.
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
        """Whether an Idempotency-Key means something here."""
        return self.method in {"POST", "PATCH", "DELETE"}


def bind(operation: Operation, entrance: Entrance) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The aiohttp handler of an operation: who, how often, what; then the work."""

    async def handle(request: web.Request) -> web.StreamResponse:
        key = await entrance.authenticate(request)
        await entrance.count(request, key)  # before all that may refuse it, so that every response tells the limit
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
