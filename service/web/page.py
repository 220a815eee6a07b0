"""A page: its path, who may see it, and what makes it, in one value; and the visit that it is made for."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from aiohttp import ETag, web

from service.api.errors import ApiError, Code, invalid
from service.api.inside import Caller, Inside, decoded
from service.api.validation import is_storable
from service.core.audit.actor import Actor, ActorKind
from service.core.keys.api_key import StoredKey
from service.core.session import Session
from service.web.done import PARAMETER, Done

PREFIX: Final = "/dashboard"
OF_ORGANIZATION: Final = "/o/{organization}"
"""Pages of an organization are below this, and its id is in their URL: it can be shared by whoever may see several."""
FORM_FIELDS_MAX: Final = 500
DIGITS_MAX: Final = 18
"""Of a number in a form: a longer one is none that anything takes, and costs much to read."""
SAFE: Final = frozenset({"GET", "HEAD"})

_NOTHING: Final[Mapping[str, Any]] = {}
_NOT_THERE: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})


@dataclass(frozen=True, slots=True)
class Shown:
    """A page that is shown: a template with its values. ``title`` is the page's answer in a sentence."""

    template: str
    title: str
    """"" for a part of a page, which has no navigation."""
    context: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    failing_count: int | None = None
    """How many endpoints fail, if the page has just read it: the navigation beside it says the same."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The browser goes on to another page, by its full path, as ``Visit.url`` gives it.

    That page says what was ``done``, in a box at its foot.
    """

    url: str
    done: Done | None = None

    @property
    def location(self) -> str:
        """Where the browser goes."""
        if self.done is None:
            return self.url
        return f"{self.url}{'&' if '?' in self.url else '?'}{PARAMETER}={self.done.code}"


@dataclass(frozen=True, slots=True)
class Download:
    """A list that is sent as a file: the operation that answers it, and its query with a ``format``."""

    operation: str
    query: Mapping[str, str]


Result: TypeAlias = Shown | Moved | Download


class Form:
    """The fields of a form that was sent. What is not text that can be stored is refused before."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> str:
        """The last value, without space around it; "" if there is none."""
        return self._values.get(name, [""])[-1].strip()

    def number(self, name: str) -> int | str | None:
        """The value, as ``as_number`` reads it."""
        return as_number(self.get(name))

    def all(self, name: str) -> list[str]:
        """Every value."""
        return list(self._values.get(name, ()))


def as_number(text: str) -> int | str | None:
    """The number; what is none stays text, which the operation refuses. None if there is nothing."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX
    return int(text) if is_number else text or None


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is signed in. ``base`` is the path of the pages, behind a proxy's prefix as well.

    ``organization_id`` is "" on the pages of the service, which only the operator sees.
    """

    request: web.Request
    session: Session
    inside: Inside
    base: str
    organization_id: str = ""
    form: Form = field(default_factory=lambda: Form(()))

    async def ask(
        self,
        operation: str,
        path: Mapping[str, str] = _NOTHING,
        query: Mapping[str, str] = _NOTHING,
        body: Mapping[str, Any] | None = None,
        if_match: tuple[ETag, ...] | None = None,
    ) -> Any:  # noqa: ANN401 - an operation's answer, as JSON has it
        """Call an operation of ``/v1`` by its name for the page's organization.

        Returns its answer as decoded JSON. Raises ``ApiError`` with the operation's own sentences, by field.
        """
        return await self.inside.call(operation, self.caller, path=path, query=query, body=body, if_match=if_match)

    async def ask_if_there(self, operation: str, path: Mapping[str, str], query: Mapping[str, str] = _NOTHING) -> Any:  # noqa: ANN401 - an operation's answer, as JSON has it
        """The same; None for what is not there, cannot be an id, or is not for this visitor."""
        try:
            return await self.ask(operation, path, query)
        except ApiError as refused:
            if refused.status not in _NOT_THERE:
                raise
            return None

    async def ask_with_tag(self, operation: str, path: Mapping[str, str]) -> tuple[Any, str]:
        """The same, and the answer's ETag without its quotes: a form keeps it, and its change asks for it."""
        answer = await self.inside.answer(operation, self.caller, path=path)
        return decoded(answer), answer.headers.get("ETag", "").strip('"')

    @property
    def caller(self) -> Caller:
        """Who calls operations, and as whom the audit log names them."""
        guest, session = self.session.guest, self.session
        key = StoredKey(
            guest.key_id or "",
            self.organization_id,
            b"",
            guest.scopes,
            session.key_expires_at,
            None,
            session.name,
            session.rate_limit_per_hour,
            session.counted_as,
        )
        return Caller(key, self.actor)

    @property
    def actor(self) -> Actor:
        """Whoever signed in with a key is that key; the others have a link that somebody made."""
        guest, remote = self.session.guest, self.request.remote
        if guest.key_id is not None and not guest.is_by_link:
            return Actor(ActorKind.API_KEY, guest.key_id, remote)
        return Actor(ActorKind.LINK, guest.key_id or guest.made_by or "", remote)

    def may(self, scope: str) -> bool:
        """Whether the session has the whole scope: buttons that would only be refused are not shown."""
        return scope in self.session.guest.scopes

    @property
    def is_operator(self) -> bool:
        """Whether the session sees every organization and the service."""
        return self.session.guest.is_operator

    def path(self, name: str) -> str:
        """Return a parameter of the path. Raises ``ApiError`` (404) for text that cannot be stored."""
        part = self.request.match_info[name]
        if not is_storable(part):
            raise not_found()
        return part

    def query(self, name: str) -> str:
        """Return a parameter of the query; "" if there is none. Raises ``ApiError`` (400) as a form does."""
        value = self.request.query.get(name, "").strip()
        if not is_storable(value):
            raise invalid(f"{name} has a character that cannot be stored (U+0000).")
        return value

    @property
    def done(self) -> Done | None:
        """What the form before this page has done."""
        return Done.coded(self.request.query.get(PARAMETER, ""))

    def url(self, path: str = "", /, **query: object) -> str:
        """The URL of a page of this organization, such as ``/endpoints``. Empty and None parameters are left out."""
        return _with_query(f"{self.base}/o/{quote(self.organization_id, safe='')}{path}", query)

    def service_url(self, path: str = "", /, **query: object) -> str:
        """The URL of a page that belongs to no organization, such as ``/sign-out``."""
        return _with_query(f"{self.base}{path}", query)


Handler: TypeAlias = Callable[[Visit], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Page:
    """One method of one path, below that of its organization; with ``is_of_service``, for the operator alone.

    ``section`` is the entry of the navigation that it belongs to, ``scope`` what a session must have to ask for it:
    unless it is said, "read" to look, and "write" for a form. ``seconds_max`` is for a page that may take longer
    than others, as its operation may.
    """

    method: str
    path: str
    handler: Handler
    section: str
    is_of_service: bool = False
    scope: str = ""
    seconds_max: float | None = None

    @property
    def needs(self) -> str:
        """The scope, said or not."""
        return self.scope or ("read" if self.method in SAFE else "write")

    @property
    def full_path(self) -> str:
        """The path below ``PREFIX``."""
        return self.path if self.is_of_service else OF_ORGANIZATION + self.path


def not_found() -> ApiError:
    """There is no such page, or it is somebody else's (404)."""
    return ApiError(404, Code.NOT_FOUND, "There is no such page here.")


def _with_query(path: str, query: Mapping[str, object]) -> str:
    given = {name: value for name, value in query.items() if value not in {None, ""}}
    return f"{path}?{urlencode(given)}" if given else path
