"""``GET /v1/events``: the events of an organization, as they are delivered, newest first."""

from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec
from pydantic import ConfigDict, Field

from service.api.errors import ApiError, Code
from service.api.instant import Instant
from service.api.lists.keyset import Keyset
from service.api.lists.page import Page, page_of_json, read_page
from service.api.operation import Answer, Call, Operation
from service.api.v1.event_queries import EventsQuery
from service.api.validation import AnswerModel
from service.core.events.uid import received_at
from service.core.events.view import EventFilter, EventView
from service.core.timestamp import format_timestamp
from service.ports.desk import EventDesk

TAG = "events"

_BY_UID: Final[Keyset[EventView, UUID]] = Keyset(
    of=lambda event: event.uid,
    kinds=(str,),
    write=lambda uid: (uid.hex,),
    read=UUID,
    is_whole=lambda event: bool(event.body),
)

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw])


class EventBody(AnswerModel):
    """An event's envelope as it is delivered, with all of the producer's fields."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(examples=["evt_01JD5Z7Q8M3V9K2B4N6P8R0T1W"])
    type: str = Field(examples=["message.sent"])
    timestamp: Instant = Field(description="When it happened.")
    organization_id: str = Field(examples=["org_8Zq1"])
    test: bool = Field(description="Whether it is a test send.")
    data: dict[str, Any]


class EventItem(EventBody):
    """An event: the envelope as it is delivered, with all of the producer's fields, and when it was received."""

    received_at: Instant = Field(description="When Posthorn received it, to the millisecond.")


class EventOperations:
    """Reads events. Answers contain the stored bytes, so that numbers keep the producer's notation."""

    def __init__(self, desk: EventDesk) -> None:
        self._desk = desk

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations."""
        return (
            Operation(
                "GET",
                "/v1/events",
                name="list_events",
                summary="List events",
                description="Newest first. A page of very large events may have fewer than `limit`.",
                tag=TAG,
                scope="read",
                handler=self.list,
                query=EventsQuery,
                answers={200: Page[EventItem]},
            ),
            Operation(
                "GET",
                "/v1/events/{event_id}",
                name="get_event",
                summary="Get an event",
                tag=TAG,
                scope="read",
                handler=self.show,
                answers={200: EventItem},
                problems=frozenset({404}),
            ),
            Operation(
                "GET",
                "/v1/events/{event_id}/body",
                name="get_event_body",
                summary="Get an event's body",
                description="Exactly the bytes that are signed and sent, to compare with what a receiver got.",
                tag=TAG,
                scope="read",
                handler=self.show_body,
                answers={200: EventBody},
                problems=frozenset({404}),
            ),
        )

    async def list(self, call: Call) -> Answer:
        """List one page of events."""
        query: EventsQuery = call.query
        wanted = EventFilter(call.organization_id, query.event_type or (), query.message_id, *query.times, query.scope)
        page = await read_page(query, _BY_UID, partial(self._desk.list, wanted))
        return Answer(200, text=page_of_json(map(event_json, page.rows), page.links))

    async def show(self, call: Call) -> Answer:
        """Show one event."""
        event_id = call.path("event_id")
        found = await self._desk.find(call.organization_id, event_id)
        if found is None:
            raise no_event(event_id)
        return Answer(200, text=event_json(found).decode())

    async def show_body(self, call: Call) -> Answer:
        """Show what is sent of one event, byte for byte."""
        event_id = call.path("event_id")
        found = await self._desk.find(call.organization_id, event_id)
        if found is None:
            raise no_event(event_id)
        return Answer(200, text=found.body.decode())


def no_event(event_id: str) -> ApiError:
    """The organization has no such event (404)."""
    return ApiError(404, Code.NOT_FOUND, f"no event {event_id[:64]!r}")


def event_json(found: EventView, **added: object) -> bytes:
    """The envelope with our ``received_at`` and what is ``added``; they replace a producer's fields of these names."""
    fields = _fields_of.decode(found.body)
    added = {"received_at": format_timestamp(received_at(found.uid)), **added}
    fields |= {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in added.items()}
    return b"{" + b",".join(b"%b:%b" % (msgspec.json.encode(name), bytes(raw)) for name, raw in fields.items()) + b"}"
