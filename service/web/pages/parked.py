"""Parked messages: why each could not become an event; mend it and publish it again, or discard it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from service.api.errors import ApiError, Code
from service.core.events.event import BODY_BYTES_MAX, Rejected
from service.core.parked.mending import Mend
from service.core.parked.message import ParkedFilter, ParkedMessage, readable, written
from service.ports.errors import UnavailableError
from service.ports.parked import Look, ParkedDesk, Sweep
from service.web.done import PARAMETER, Done
from service.web.page import Moved, Page, Result, Shown, Visit, not_found
from service.web.words import counted

MESSAGES_SHOWN: Final = 50
SKIP_MAX: Final = 100_000
WALK_SECONDS_MAX: Final = 4.0
"""For the broker: to connect, to wait for a turn, and to walk along the queue."""
SECONDS_MAX: Final = 2 * WALK_SECONDS_MAX + 1
"""A message is looked for before it is published again: that is two walks."""
HEADERS_SHOWN_MAX: Final = 100
HEADER_CHARACTERS_MAX: Final = 1_000


class ParkedPages:
    """The list and the page of a message. ``desk`` is None where there is no broker."""

    def __init__(self, desk: ParkedDesk | None) -> None:
        self._desk = desk

    async def show_list(self, visit: Visit) -> Result:
        """Messages in the order in which they were parked."""
        reason, skip = visit.query("reason"), _skip(visit.query("skip"))
        context: dict[str, Any] = {
            "reason": reason,
            "skip": skip,
            "look": None,
            "trouble": None,
            "count": MESSAGES_SHOWN,
        }
        if self._desk is None:
            return Shown("parked.html", "No broker is configured", context)
        wanted = ParkedFilter(reasons=frozenset({reason} if reason else ()))
        try:
            async with _in_time():
                look = await self._desk.look(wanted, limit=MESSAGES_SHOWN, skip=skip)
        except UnavailableError as error:
            return Shown("parked.html", "The parked queue could not be read", context | {"trouble": str(error)}, 503)
        title = f"{counted(look.message_count, 'message')} parked" if look.message_count else "Nothing is parked"
        return Shown("parked.html", title, context | {"look": look})

    async def show_message(self, visit: Visit) -> Result:
        """One message, with a form to mend it."""
        return _shown(await self._found(visit), {})

    async def republish(self, visit: Visit) -> Result:
        """Publish it again, mended if something in the form differs from what it has."""
        message = await self._found(visit)
        mend = _mend(visit, message)
        async with _broker("Whether this was done is not known; look at the message again"):
            sweep = await self._reachable().republish(_only(message), mend, limit=1, by=visit.actor)
        if not sweep.done and not sweep.refused:
            raise _not_found(sweep)
        if sweep.refused:
            return _shown(
                message, {name: visit.form.get(name) for name in ("body", "type", "organization")}, sweep.refused[0][1]
            )
        return Moved(visit.service_url("/service/parked", **{PARAMETER: Done.MESSAGE_PUBLISHED.code}))

    async def discard(self, visit: Visit) -> Result:
        """Take it out for good. One that somebody else has taken meanwhile is gone all the same."""
        wanted = ParkedFilter(frozenset({visit.path("id")}))
        async with _broker("Whether this was done is not known; look at the message again"):
            sweep = await self._reachable().discard(wanted, limit=1, by=visit.actor)
        if not sweep.done and sweep.reached_limit:
            raise _not_found(sweep)
        return Moved(visit.service_url("/service/parked", **{PARAMETER: Done.MESSAGE_DISCARDED.code}))

    def pages(self) -> Sequence[Page]:
        """The pages of parked messages."""
        at = "/service/parked"
        return tuple(
            Page(method, path, handler, section="parked", is_of_service=True, seconds_max=SECONDS_MAX)
            for method, path, handler in (
                ("GET", at, self.show_list),
                ("GET", f"{at}/{{id}}", self.show_message),
                ("POST", f"{at}/{{id}}/republish", self.republish),
                ("POST", f"{at}/{{id}}/discard", self.discard),
            )
        )

    async def _found(self, visit: Visit) -> ParkedMessage:
        wanted = ParkedFilter(frozenset({visit.path("id")}))
        async with _broker("The parked queue could not be read"):
            look = await self._reachable().look(wanted, limit=1, body_bytes_max=BODY_BYTES_MAX)
        if look.messages:
            return look.messages[0]
        raise _not_found(look)

    def _reachable(self) -> ParkedDesk:
        if self._desk is None:
            raise not_found()
        return self._desk


@asynccontextmanager
async def _broker(failed: str) -> AsyncIterator[None]:
    """Tell that the broker is away, and what ``failed`` for it: the pages' own sentence is about the database."""
    try:
        async with _in_time():
            yield
    except UnavailableError as error:
        raise ApiError(503, Code.UNAVAILABLE, f"{failed}: {error}.") from error


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """Raises ``UnavailableError`` for a broker that says nothing, while the page can still tell it."""
    try:
        async with asyncio.timeout(WALK_SECONDS_MAX):
            yield
    except TimeoutError as error:
        raise UnavailableError("the broker did not answer in time") from error


def _not_found(walked: Look | Sweep) -> ApiError:
    """Why a message was not found (404)."""
    sentence = "This message is not parked any more: it was published again or discarded."
    if walked.reached_limit:
        sentence = (
            f"Only {walked.looked_at_count} of {walked.message_count} messages could be looked at in the time of a "
            "page. The commands 'posthorn parked' look for longer."
        )
    return ApiError(404, Code.NOT_FOUND, sentence)


def _shown(message: ParkedMessage, sent: Mapping[str, str], refused: Rejected | None = None) -> Shown:
    """The page of a message; after a refusal with what was ``sent``, and why it is not enough."""
    text, is_cut = (None, False) if message.body is None else readable(message.body, BODY_BYTES_MAX * 2)
    original = {
        "body": "" if text is None or is_cut or message.is_notice else text,
        "type": message.claims.event_type or "",
        "organization": message.claims.organization_id or "",
    }
    errors = {each.field or "event": [each.detail] for each in refused.complaints} if refused else {}
    context = {
        "message": message,
        "fields": {**original, **sent},
        "refused": refused,
        "errors": errors,
        "is_readable": bool(original["body"]),
        "details": [
            *((name, written(value)) for name, value in message.properties.items()),
            *(
                (f"header {name}", written(value)[:HEADER_CHARACTERS_MAX])
                for name, value in list(message.headers.items())[:HEADERS_SHOWN_MAX]
            ),
        ],
    }
    title = f"Parked: {message.reason}" if message.reason else "A parked message"
    return Shown("parked_message.html", title, context, 422 if refused else 200)


def _mend(visit: Visit, message: ParkedMessage) -> Mend:
    """What differs from the message; an untouched body is published byte by byte."""
    body, event_type, organization = (visit.form.get(name) for name in ("body", "type", "organization"))
    text = None if message.body is None else readable(message.body, BODY_BYTES_MAX * 2)[0]
    is_untouched = not body or (text is not None and body == text.replace("\r\n", "\n").strip())
    claims = message.claims
    return Mend(
        None if is_untouched else body.encode(),
        event_type if event_type and event_type != claims.event_type else None,
        organization if organization and organization != claims.organization_id else None,
    )


def _only(message: ParkedMessage) -> ParkedFilter:
    return ParkedFilter(frozenset({message.id}))


def _skip(text: str) -> int:
    return min(int(text), SKIP_MAX) if text.isascii() and text.isdecimal() and len(text) < 9 else 0  # noqa: PLR2004 - digits
