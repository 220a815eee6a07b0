"""The three lists: a page of rows, with links to the next and previous page."""

import json
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from aiohttp import web

from service.api.v2.links import Links
from service.api.v2.paging import EVENTS, RESTHOOKS, SUBSCRIBERS, KeysetPage, read_page
from service.api.v2.resource import ResourceCall
from service.api.v2.subscribers import as_object
from service.api.validation import JSON
from service.core.endpoints.view import Resthook, ResthookEvent, Subscriber
from service.core.events.uid import received_at
from service.core.keys.scope import includes
from service.core.timestamp import format_timestamp
from service.ports.desk import ResthookDesk

_TRUE: Final = {"true", "1", "t", "yes", "y"}

Row = TypeVar("Row")


class Lists:
    """Reads the lists."""

    def __init__(self, desk: ResthookDesk, links: Links, page_size: int) -> None:
        self._desk = desk
        self._links = links
        self._page_size = page_size

    async def resthooks(self, call: ResourceCall) -> web.Response:
        """List event types, most recently modified first; ``?reverse=true`` reverses the order."""
        is_descending = (call.parameter("reverse") or "").lower() not in _TRUE
        fetch = partial(self._desk.list_resthooks, call.organization_id)
        page = await read_page(_cursor(call), RESTHOOKS, fetch, self._page_size, is_descending=is_descending)
        return self._answer(call, "/resthooks.json", page, _resthook)

    async def subscribers(self, call: ResourceCall) -> web.Response:
        """List active subscriptions, newest first; ``?id=`` and ``?resthook=`` filter.

        RapidPro's clients compare ``target_url`` with their own, so whoever may subscribe sees its query.
        """
        fetch = partial(
            self._desk.list_subscribers,
            call.organization_id,
            subscriber_id=call.id(),
            resthook=call.parameter("resthook") or None,
        )
        page = await read_page(_cursor(call), SUBSCRIBERS, fetch, self._page_size)
        shows_query = call.key is not None and includes(call.key.scopes, "write")
        return self._answer(call, "/resthook_subscribers.json", page, partial(_subscriber, shows_query=shows_query))

    async def events(self, call: ResourceCall) -> web.Response:
        """List events, newest first, whether or not anybody subscribed; ``?resthook=`` filters."""
        resthook = call.parameter("resthook") or None
        fetch = partial(self._desk.list_events, call.organization_id, resthook=resthook)
        page = await read_page(_cursor(call), EVENTS, fetch, self._page_size)
        return self._answer(call, "/resthook_events.json", page, _event)

    def _answer(
        self, call: ResourceCall, path: str, page: KeysetPage[Row], render: Callable[[Row], bytes]
    ) -> web.Response:
        links = (
            self._links.with_cursor(call.request, path, cursor) for cursor in (page.next_cursor, page.previous_cursor)
        )
        body = b'{"next":%b,"previous":%b,"results":[%b]}' % (*map(_json, links), b",".join(map(render, page.rows)))
        return web.Response(body=body, content_type=JSON)


def _cursor(call: ResourceCall) -> str:
    return call.parameter("cursor") or ""


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _resthook(row: Resthook) -> bytes:
    modified_on, created_on = format_timestamp(row.modified_at), format_timestamp(row.created_at)
    return _json({"resthook": row.slug, "modified_on": modified_on, "created_on": created_on})


def _subscriber(row: Subscriber, *, shows_query: bool) -> bytes:
    return _json(as_object(row, shows_query=shows_query))


def _event(row: ResthookEvent) -> bytes:
    """Insert the stored envelope unchanged: decoding and encoding a number could alter it."""
    # The time is the one in the uid, which the list is ordered by.
    created_on = format_timestamp(received_at(row.uid))
    return b'{"resthook":%b,"data":%b,"created_on":%b}' % (_json(row.resthook), row.body or b"null", _json(created_on))
