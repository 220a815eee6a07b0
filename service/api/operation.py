"""An operation of ``/v1``: its path, models, answers and handler in one value.

The router, the validation and the documents are all built from these values, so they cannot disagree.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, Final, assert_never

from aiohttp import web
from pydantic import BaseModel

from service.api.asked import Asked
from service.api.cors import ALIEN, has_browser_login
from service.api.deprecation import DEPRECATION, Deprecation
from service.api.entrance.caller import actor_of
from service.api.entrance.entrance import Entrance
from service.api.entrance.rate_limit import RATE_LIMIT, RateLimit
from service.api.errors import ApiError, Code
from service.api.event_stream import EVENT_STREAM
from service.api.export.export import Export, make_export
from service.api.export.sending import send
from service.api.lists.page import Format, PageQuery
from service.api.patience import PATIENCE_SECONDS, Patience
from service.api.validation import (
    BODY_BYTES_MAX,
    JSON,
    QueryModel,
    is_storable,
    parse_body,
    parse_query,
    read_body,
    require_media_type,
)
from service.core.audit.actor import Actor
from service.core.keys.api_key import NOBODY, StoredKey

ALWAYS_POSSIBLE: Final = frozenset({400, 401, 403, 429, 500, 503})
"""Error statuses that every operation may answer."""
NAMED_POSSIBLE: Final = frozenset({404, 409, 422})
"""Further error statuses of a request with an Idempotency-Key."""
CONDITIONAL_POSSIBLE: Final = frozenset({412})
"""Further error statuses of a request with If-Match."""
WITH_BODY_POSSIBLE: Final = frozenset({408, 413, 415})

_OF_OTHER_SITE: Final = "another site's page cannot change anything with a login that the browser has stored"


class Limit(Enum):
    """By what a key's scope may be limited, and still be of use for an operation."""

    NONE = auto()
    ENDPOINT = auto()
    """By the endpoint whose id the path has."""
    EVENT_TYPE = auto()
    """By event types, which the operation itself compares."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, authorised and validated. ``query`` and ``body`` are the operation's models."""

    request: Asked
    key: StoredKey
    actor: Actor
    """Who makes the change, for the audit log."""
    query: Any = None
    body: Any = None
    body_bytes: bytes = b""
    rate_limit: RateLimit | None = None
    """Where the caller stands in its budget; None inside the process."""

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
    """An operation's result: ``body`` is a model, ``text`` is ready-made JSON; with neither, the response is empty.

    ``stream`` answers the request by itself, for as long as it likes; nothing else is given then.
    """

    status: int
    body: BaseModel | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    stream: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None


def created(body: BaseModel, path: str, headers: Mapping[str, str] = MappingProxyType({})) -> Answer:
    """The answer about something new, which is at ``path`` from now on."""
    return Answer(201, body, {"Location": path, **headers})


@dataclass(frozen=True, slots=True)
class OtherBody:
    """What a body of a media type looks like, with an example, if not like that of the others."""

    schema: Mapping[str, Any]
    example: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    ``answers`` maps success statuses to models; ``problems`` are the error statuses beyond ``ALWAYS_POSSIBLE``.
    With ``has_etag`` its answers show one, and it heeds If-None-Match (GET) or If-Match (the others).
    ``scope`` None allows any key; ``limit`` says which keys with a limited scope are let in. ``example`` is a valid
    body, for the documents. With a ``body_schema`` instead of a model, the handler gets the body as bytes; it only
    describes them, as a JSON Schema or a model. ``other_bodies`` are those that look different, by media type. An
    answer that ``shows_key`` is repeated for an Idempotency-Key only to the API key that asked first: another one may
    be unable to give the same. An operation that does not need a key (``needs_key``) has nobody's limits, and takes no
    Idempotency-Key. ``deprecation`` says that it will end, in the documents and on every answer. It may take
    ``seconds_max``; what it answers as a stream has no such limit. Answers with a body are ``answer_type``.
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
    body_schema: type[BaseModel] | Mapping[str, Any] | None = None
    media_types: tuple[str, ...] = (JSON,)
    other_bodies: Mapping[str, OtherBody] = field(default_factory=dict)
    body_bytes_max: int = BODY_BYTES_MAX
    problems: frozenset[int] = frozenset()
    example: Mapping[str, Any] | None = None
    shows_key: bool = False
    limit: Limit = Limit.NONE
    needs_key: bool = True
    deprecation: Deprecation | None = None
    has_etag: bool = False
    seconds_max: float = PATIENCE_SECONDS
    answer_type: str = JSON

    @property
    def reads_body(self) -> bool:
        """Whether a body is expected."""
        return self.body is not None or self.body_schema is not None

    @property
    def possible_problems(self) -> frozenset[int]:
        """Every error status that it may answer."""
        always = ALWAYS_POSSIBLE if self.needs_key else ALWAYS_POSSIBLE - {401, 403}
        always |= CONDITIONAL_POSSIBLE if self.has_etag and self.method in {"PUT", "PATCH", "DELETE"} else frozenset()
        return always | self.problems | (NAMED_POSSIBLE if self.changes else frozenset())

    @property
    def changes(self) -> bool:
        """Whether the operation takes an Idempotency-Key."""
        return self.needs_key and self.method in {"POST", "PUT", "PATCH", "DELETE"}


def bind(operation: Operation, entrance: Entrance) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Build the aiohttp handler: authenticate, count, check scope and input, then call the operation's handler."""
    handler = _bind_keyed(operation, entrance) if operation.needs_key else _bind_open(operation)
    deprecation = operation.deprecation
    if deprecation is None:
        return handler

    async def handle(request: web.Request) -> web.StreamResponse:
        request[DEPRECATION] = deprecation
        return await handler(request)

    return handle


def _bind_keyed(operation: Operation, entrance: Entrance) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler of an operation that needs a key."""

    async def enter(request: web.Request) -> StoredKey:
        key = await entrance.authenticate(request)
        is_publishing = operation.scope == "publish" and key.may_somewhere("publish")
        standing = await entrance.count(request, key, is_publishing=is_publishing)
        standing.admit()  # counted before any refusal, so that every response shows the limit
        if operation.changes and request[ALIEN] and has_browser_login(request):
            raise ApiError(403, Code.PERMISSION_DENIED, _OF_OTHER_SITE)
        return key

    async def handle(request: web.Request) -> web.StreamResponse:
        patience = Patience()
        key = await patience.wait(enter(request))
        if operation.seconds_max > PATIENCE_SECONDS:
            patience = Patience(operation.seconds_max)
        require_scope(operation, key, request)
        if operation.query is not None and "format" in request.query:
            query = parse_query(operation.query, request)
            if isinstance(query, PageQuery) and query.format is not Format.JSON:
                export = _export(operation, request, key, query, enter, entrance.now())
                return await send(request, key.organization_id, export)
        holder, bytes_max = key.organization_id, operation.body_bytes_max
        body_bytes = await read_body(request, bytes_max, holder) if operation.reads_body else b""
        if body_bytes or operation.body_schema:
            require_media_type(request, *operation.media_types)

        async def ask() -> Answer:
            query = _query(operation, request)
            body = parse_body(operation.body, body_bytes) if operation.body else None
            actor = actor_of(request.remote, key)
            call = Call(request, key, actor, query, body, body_bytes, request[RATE_LIMIT])
            return await operation.handler(call)

        async def run() -> web.Response:
            return _response(await ask())

        if operation.answer_type == EVENT_STREAM:
            answer = await patience.wait(ask())
            return await answer.stream(request) if answer.stream is not None else _response(answer)
        named_bytes = body_bytes + key.key_id.encode() if operation.shows_key else body_bytes
        return await patience.wait(entrance.once(request, key, named_bytes, run) if operation.changes else run())

    return handle


class _NoParameters(QueryModel):
    """The query of an operation that has none."""


def _query(operation: Operation, request: web.Request) -> BaseModel | None:
    """The query, as the operation's model. Raises ``ApiError`` (400), also for parameters where there are none."""
    if operation.query is None and not request.query_string:
        return None
    return parse_query(operation.query or _NoParameters, request)


def _export(
    operation: Operation,
    request: web.Request,
    key: StoredKey,
    query: PageQuery,
    enter: Callable[[web.Request], Awaitable[StoredKey]],
    at: datetime,
) -> Export:
    """The list that a request with this key asks for, as a file."""
    is_first = True

    async def read(page: PageQuery) -> Answer:
        nonlocal is_first
        # Each page is asked for like any other: the key must still be valid, and it is counted.
        allowed, is_first = key if is_first else await enter(request), False
        require_scope(operation, allowed, request)
        return await operation.handler(Call(request, allowed, actor_of(request.remote, allowed), page))

    return export_of(operation, query, read, at)


def export_of(
    operation: Operation, query: PageQuery, read: Callable[[PageQuery], Coroutine[Any, Any, Answer]], at: datetime
) -> Export:
    """The list as a file; ``read`` answers for each of its pages, and has a request's time for it."""

    async def read_json(page: PageQuery) -> bytes:
        return (text_of(await Patience().wait(read(page))) or "").encode()

    (model,) = operation.answers.values()
    assert model is not None  # noqa: S101 - a list has pages
    return make_export(operation.path.rpartition("/")[2], model, query, read_json, at)


def _bind_open(operation: Operation) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler of an operation that needs no key: check the input, then call the operation's handler."""

    async def handle(request: web.Request) -> web.StreamResponse:
        body_bytes = await read_body(request, operation.body_bytes_max)
        if body_bytes:
            require_media_type(request, *operation.media_types)
        body = parse_body(operation.body, body_bytes) if operation.body else None

        async def run() -> web.Response:
            actor = actor_of(request.remote, NOBODY)
            return _response(await operation.handler(Call(request, NOBODY, actor, None, body, body_bytes)))

        return await Patience().wait(run())

    return handle


def require_scope(operation: Operation, key: StoredKey, request: Asked) -> None:
    """Raise ``ApiError`` (403) if the key may not do this."""
    scope = operation.scope
    if scope is None:
        return
    match operation.limit:
        case Limit.NONE:
            has_it = key.may(scope)
        case Limit.ENDPOINT:
            has_it = key.may(scope, request.match_info["id"])
        case Limit.EVENT_TYPE:
            has_it = key.may_somewhere(scope)
        case _:
            assert_never(operation.limit)
    if not has_it:
        limited = sorted(each for each in key.scopes if each.startswith(f"{scope}:"))
        only = f"; it has only {', '.join(limited)}" if limited else ""
        raise ApiError(403, Code.PERMISSION_DENIED, f"this API key lacks the scope {scope!r}{only}")


def text_of(answer: Answer) -> str | None:
    """The answer's body."""
    return answer.body.model_dump_json(by_alias=True) if answer.body is not None else answer.text


def _response(answer: Answer) -> web.Response:
    text = text_of(answer)
    if text is None:
        return web.Response(status=answer.status, headers=answer.headers)
    return web.Response(status=answer.status, text=text, content_type=JSON, headers=answer.headers)
