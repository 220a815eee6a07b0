"""Operations called inside the process, by the pages and the command line: with the same rules, and the same errors.

There is no request over HTTP, so no API key is looked up, and nothing is counted or repeated: that is for whoever lets
the caller in.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec
from aiohttp import ETag

from service.api.asked import InsideRequest
from service.api.errors import ApiError, Code
from service.api.export.export import Export
from service.api.lists.page import PageQuery
from service.api.operation import Answer, Call, Operation, export_of, require_scope
from service.api.validation import parse_body, parse_parameters
from service.core.audit.actor import Actor
from service.core.keys.api_key import StoredKey
from service.core.keys.scope import SCOPES

_NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever has been let in: what they may do, and as whom the audit log names them."""

    key: StoredKey
    actor: Actor


def anyone_of(organization_id: str, actor: Actor) -> Caller:
    """Whoever may do everything in an organization, as the operator may."""
    key = StoredKey("", organization_id, b"", frozenset(SCOPES), None, None, actor.id, None)
    return Caller(key, actor)


class Inside:
    """Finds an operation by its name, and calls it."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = {each.name: each for each in operations if each.needs_key}

    async def call(
        self,
        name: str,
        caller: Caller,
        *,
        path: Mapping[str, str] = _NOTHING,
        query: Mapping[str, str] = _NOTHING,
        body: Mapping[str, Any] | None = None,
        if_match: tuple[ETag, ...] | None = None,
    ) -> Any:  # noqa: ANN401 - an operation's answer, as JSON has it
        """Return what the operation answers, as decoded JSON; None for an empty answer.

        Raises ``ApiError`` as over HTTP, ``UnavailableError``, and KeyError for a name that no operation has.
        """
        answer = await self.answer(name, caller, path=path, query=query, body=body, if_match=if_match)
        return decoded(answer)

    async def answer(
        self,
        name: str,
        caller: Caller,
        *,
        path: Mapping[str, str] = _NOTHING,
        query: Mapping[str, str] = _NOTHING,
        body: Mapping[str, Any] | None = None,
        if_match: tuple[ETag, ...] | None = None,
    ) -> Answer:
        """Return the answer whole, with its status and headers. Raises as ``call`` does."""
        operation = self._operations[name]
        call = _call(operation, caller, path, if_match, query, body)
        return await operation.handler(call)

    def export(
        self,
        name: str,
        caller: Caller,
        *,
        path: Mapping[str, str] = _NOTHING,
        query: Mapping[str, str],
        at: datetime,
        let_in: Callable[[], Awaitable[None]] | None = None,
    ) -> Export:
        """Return the list as a file, asked for ``at`` a time; ``query`` has its ``format``, ``csv`` or ``jsonl``.

        Raises as ``call`` does, also while the file is read; ``let_in`` may raise before each page but the first.
        ``export.sending.send`` answers a request with it.
        """
        operation = self._operations[name]
        call = _call(operation, caller, path, None, query, None)

        is_first = True

        async def read(page: PageQuery) -> Answer:
            nonlocal is_first
            if let_in is not None and not is_first:
                await let_in()
            is_first = False
            return await operation.handler(replace(call, query=page))

        return export_of(operation, call.query, read, at)


def _call(
    operation: Operation,
    caller: Caller,
    path: Mapping[str, str],
    if_match: tuple[ETag, ...] | None,
    query: Mapping[str, str],
    body: Mapping[str, Any] | None,
) -> Call:
    """The request, if the caller may make it. Raises ``ApiError``."""
    request = InsideRequest(path, caller.actor.address, if_match)
    require_scope(operation, caller.key, request)
    body_bytes = msgspec.json.encode(body) if body is not None else b""
    if len(body_bytes) > operation.body_bytes_max:
        raise ApiError(413, Code.PAYLOAD_TOO_LARGE, f"more than {operation.body_bytes_max} bytes")
    return Call(
        request,
        caller.key,
        caller.actor,
        parse_parameters(operation.query, query) if operation.query else None,
        parse_body(operation.body, body_bytes) if operation.body else None,
        body_bytes,
    )


def decoded(answer: Answer) -> Any:  # noqa: ANN401 - as above
    """The answer's body as decoded JSON; None for an empty one."""
    if answer.body is not None:
        return answer.body.model_dump(mode="json", by_alias=True)
    return msgspec.json.decode(answer.text) if answer.text is not None else None
