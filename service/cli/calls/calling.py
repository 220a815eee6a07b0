"""``calling`` finds out where a command's operations are, and calls them there."""

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import quote

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.observers.logs import configure_logs
from service.adapters.system import command_actor
from service.api.errors import ApiError, Code
from service.api.inside import Caller, Inside, anyone_of
from service.cli.calls.operations import OPERATIONS
from service.cli.database import database_url_of, explained, require_secret_keys
from service.cli.options import named
from service.cli.organizations.known import require_organization
from service.cli.remote.client import REPLY_BYTES_MAX, ApiClient, refusal
from service.cli.remote.target import ApiOptions
from service.cli.secrets.sealed import require_openable
from service.cli.terminal import BAD_USAGE, FAILED, CommandError, shown
from service.settings import load_settings

Value = str | int | bool | Sequence[str] | None
"""A parameter; None is left out, several values are joined with commas."""

Whose = Callable[[AsyncEngine], Awaitable[str]]
"""Beside the database: finds the organization of what was named by its id alone. Raises ``CommandError``."""

NOWHERE: Final = """\
Neither an API nor a database is named.
With an API key: set POSTHORN_API_URL and POSTHORN_API_KEY, or 'posthorn profiles add'.
As the operator: set DATABASE_URL and SECRET_KEYS, and give --organization."""

_NOTHING: Final[Mapping[str, Any]] = {}


class Calls(Protocol):
    """Operations of one organization."""

    async def call(
        self,
        name: str,
        *,
        path: Mapping[str, str] = _NOTHING,
        query: Mapping[str, Value] = _NOTHING,
        body: object = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """What the operation answers. Raises ``CommandError`` with its own sentence if it refuses."""

    async def body(self, name: str, path: Mapping[str, str]) -> bytes:
        """The bytes that it answers, as they are. Raises as ``call`` does."""


class _Remote:
    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def call(
        self,
        name: str,
        *,
        path: Mapping[str, str] = _NOTHING,
        query: Mapping[str, Value] = _NOTHING,
        body: object = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        method, where = _place(name, path)
        return await self._client.request(method, where, body, query=query)

    async def body(self, name: str, path: Mapping[str, str]) -> bytes:
        read = bytearray()
        async with self._client.opened(*_place(name, path)) as reply:
            if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise await refusal(reply, self._client.target)
            async for chunk in reply.content.iter_any():
                read += chunk
                if len(read) > REPLY_BYTES_MAX:
                    raise CommandError(f"The answer has more than {REPLY_BYTES_MAX} bytes.")
        return bytes(read)


class _Beside:
    def __init__(self, inside: Inside, caller: Caller) -> None:
        self._inside, self._caller = inside, caller

    async def call(
        self,
        name: str,
        *,
        path: Mapping[str, str] = _NOTHING,
        query: Mapping[str, Value] = _NOTHING,
        body: Any = None,  # noqa: ANN401 - any JSON value
    ) -> Any:  # noqa: ANN401 - any JSON value
        given = {each: _written(value) for each, value in query.items() if value is not None}
        try:
            return await self._inside.call(name, self._caller, path=path, query=given, body=body)
        except ApiError as error:
            raise _refused(error) from None

    async def body(self, name: str, path: Mapping[str, str]) -> bytes:
        try:
            answer = await self._inside.answer(name, self._caller, path=path)
        except ApiError as error:
            raise _refused(error) from None
        return (answer.text or "").encode()


def _place(name: str, path: Mapping[str, str]) -> tuple[str, str]:
    method, template = OPERATIONS[name]
    return method, template.format(**{each: quote(value, safe="") for each, value in path.items()})


@asynccontextmanager
async def calling(
    api: ApiOptions, organization_id: str | None, *, needs_key: bool = False, whose: Whose | None = None
) -> AsyncIterator[Calls]:
    """The operations of an organization: of the API that is named, else beside the database unless it ``needs_key``.

    Beside the database ``whose`` finds the organization if none was named.

    Raises ``CommandError``, also for a key of another organization than the one that was named.
    """
    target = api.required() if needs_key else api.unless_beside_database()
    if target is not None:
        async with ApiClient(target) as client:
            if organization_id is not None:
                await _require_same(client, organization_id)
            yield _Remote(client)
        return
    from service.app.inside import operations_inside  # the whole API, which a client does without

    settings = load_settings()
    if organization_id is None and settings.database_url is None:
        raise CommandError(NOWHERE, BAD_USAGE)
    if whose is None:
        named(organization_id)
    database_url_of(settings)
    require_secret_keys(settings)
    configure_logs(settings.log_format, "error")
    with explained(settings):
        async with operations_inside(settings, name=f"{socket.gethostname()}-{os.getpid()}-cli") as beside:
            await require_openable(beside.engine, settings, tells=False)
            if organization_id is None:
                organization_id = await whose(beside.engine) if whose is not None else named(None)
            await require_organization(beside.engine, organization_id)
            yield _Beside(beside.inside, anyone_of(organization_id, command_actor()))


async def _require_same(client: ApiClient, organization_id: str) -> None:
    whose = (await client.get("/v1/me"))["organization_id"]
    if whose != organization_id:
        sentence = f"--organization: this key belongs to {shown(whose)}, not to {organization_id}."
        raise CommandError(sentence, BAD_USAGE)


def _refused(error: ApiError) -> CommandError:
    sentence = error.sentence
    lines = [f"{sentence[:1].upper()}{sentence[1:]}{'' if sentence.endswith('.') else '.'}"]
    lines += [f"  {name}: {' '.join(each)}" for name, each in error.errors.items()]
    return CommandError("\n".join(lines), BAD_USAGE if error.code is Code.VALIDATION_ERROR else FAILED)


def _written(value: Value) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str() | int():
            return str(value)
        case _:
            return ",".join(value or ())
