"""``GET /v1/stream``: events and attempts as they are committed, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Annotated, Final, assert_never
from urllib.parse import urlencode

from aiohttp import web
from pydantic import Field, RootModel, WithJsonSchema

from service.api.errors import RETRY_AFTER_SECONDS, ApiError, Code, invalid
from service.api.event_stream import COMMENT_SECONDS, EVENT_STREAM, comment, frame, no_frames, serve_frames
from service.api.instant import Instant
from service.api.lists.several import Several
from service.api.one_line import on_one_line
from service.api.operation import Answer, Call, Operation
from service.api.patience import PATIENCE_SECONDS
from service.api.v1.deliveries import EndpointIdAsked
from service.api.v1.event_queries import EventTypeAsked
from service.api.v1.events import EventItem, event_json
from service.api.validation import AnswerModel, QueryModel
from service.core.deliveries.delivery import State
from service.core.deliveries.outcome import OutcomeKind
from service.core.events.view import EventView
from service.core.reason import Reason
from service.core.stream.position import CURSOR_LENGTH_MAX, Cursor
from service.core.stream.told import (
    Closed,
    CloseReason,
    Gap,
    GapReason,
    Message,
    Recorded,
    RecordedAttempt,
    RecordedEvent,
    Wanted,
    What,
)
from service.core.timestamp import format_timestamp
from service.ports.errors import UnavailableError
from service.ports.stream import OpenStream, StreamDesk, TooManyStreams

TAG: Final = "stream"
LAST_EVENT_ID: Final = "Last-Event-ID"

WhatAsked = Annotated[What, WithJsonSchema({"type": "string", "enum": [each.value for each in What]})]


class StreamQuery(QueryModel):
    """What to be told of. Of several values, separated by commas, one must hold."""

    what: Several[WhatAsked] = Field(
        default=[*What], description="Events, attempts, or both (the default).", examples=[["events", "attempts"]]
    )
    event_type: Several[EventTypeAsked] | None = Field(
        default=None,
        description="Only events of this type and their attempts, or of one of these.",
        examples=[["message.sent", "message.failed"]],
    )
    endpoint_id: Several[EndpointIdAsked] | None = Field(
        default=None,
        description="Only attempts for this endpoint, or for one of these. Events have no endpoint: leave them out "
        "with `what=attempts`.",
        examples=[["ep_7k2m9x4c1v8b3n6h"]],
    )
    cursor: str | None = Field(
        default=None,
        max_length=CURSOR_LENGTH_MAX,
        description=f"The `id` of the last message that you got: go on after it. Also as the header `{LAST_EVENT_ID}`, "
        "which browsers send when they reconnect, and which counts if both are there.",
    )


class EventTold(EventItem):
    """`event: event`. An event was recorded: what the list of events shows, and its exact bytes."""

    body: str = Field(
        description="The envelope exactly as it is delivered, to the byte (UTF-8): what signatures are made of."
    )


class AttemptTold(AnswerModel):
    """`event: attempt`. An attempt was recorded."""

    delivery_id: str = Field(examples=["dlv_0193ab6e7c5d7a10b3f24c9d8e7f6a5b_17"])
    event_id: str
    event_type: str
    endpoint_id: str
    number: int = Field(description="The attempts of a delivery, counted from 1.")
    started_at: Instant
    duration_ms: int
    outcome: OutcomeKind
    reason: Reason | None
    status: int | None = Field(description="The HTTP status; null without a complete answer.")
    is_counted: bool = Field(
        description="False if the fault was Posthorn's, or the reply came too late: not counted towards the limit."
    )
    detail: str
    reply: str = Field(description="The start of the answer's body, at most 1 KiB.")
    state: State = Field(description="What the attempt left the delivery in; `pending` if others follow it.")
    next_attempt_at: Instant | None = Field(
        description="When the next attempt is due; null if the delivery has ended, if the next attempt has begun "
        "already, or if the delivery waits for others."
    )


class GapTold(AnswerModel):
    """`event: gap`. Something was left out; the lists have it. The stream goes on after it."""

    reason: GapReason = Field(
        description="`slow`: you did not take what you were sent. `too_old`: what `id` leads to is too long ago. "
        "`too_much`: there is too much between it and now."
    )
    events: str | None = Field(
        description="Where the list of events begins with what was left out; null if no event was.",
        examples=["/v1/events?order=asc&since=2026-11-20T18%3A25%3A35.321000Z"],
    )
    deliveries: str | None = Field(
        description="Where the list of deliveries begins with those whose attempts were left out; null if none was.",
        examples=["/v1/deliveries?order=asc&since=2026-11-20T18%3A25%3A35.321000Z"],
    )


class ClosedTold(AnswerModel):
    """`event: closed`. The last message of a stream that the service ends."""

    reason: CloseReason = Field(
        description="`key_revoked` and `key_expired`: it cannot be opened again with this key. `shutdown` and `error`: "
        "open it again, with the last `id`."
    )


class StreamMessage(RootModel[EventTold | AttemptTold | GapTold | ClosedTold]):
    """The `data` of one message; its `event` says which of these it is."""


class StreamOperations:
    """Streams what is committed."""

    def __init__(self, desk: StreamDesk) -> None:
        self._desk = desk

    def operation(self) -> Operation:
        """Return the operation."""
        return Operation(
            "GET",
            "/v1/stream",
            name="stream",
            summary="Listen to events and attempts",
            description="Server-sent events: each message has an `id`, an `event` (`event`, `attempt`, `gap` or "
            "`closed`) and one JSON object as `data`. What was committed is told once, each event before its attempts. "
            f"Resumed with `{LAST_EVENT_ID}` within 15 minutes, nothing is missed and nothing repeated. A comment "
            f"every {COMMENT_SECONDS:g} s shows that the stream lives.",
            tag=TAG,
            scope="read",
            handler=self.listen,
            query=StreamQuery,
            answers={200: StreamMessage},
            answer_type=EVENT_STREAM,
        )

    async def listen(self, call: Call) -> Answer:
        """Answer with a stream."""
        query: StreamQuery = call.query
        wanted = Wanted(
            call.organization_id,
            frozenset(query.what),
            frozenset(query.event_type or ()),
            frozenset(query.endpoint_id or ()),
        )

        async def serve(request: web.Request) -> web.StreamResponse:
            cursor = _cursor_of(request, query)
            if request.method == "HEAD":
                return no_frames()
            stream = await self._open(wanted, call.key.key_id, cursor)
            try:
                return await serve_frames(request, _frames(stream, wanted), stream.ended)
            finally:
                stream.leave()

        return Answer(200, stream=serve)

    async def _open(self, wanted: Wanted, key_id: str, cursor: Cursor | None) -> OpenStream:
        # Not as a task of its own, as other waiting is: what it opened while nobody waited any more would stay open.
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                stream = await self._desk.open(wanted, key_id, cursor)
        except TimeoutError:
            raise UnavailableError(f"the database did not answer within {PATIENCE_SECONDS:g} s") from None
        match stream:
            case TooManyStreams.OF_KEY:
                raise _too_many(429, Code.RATE_LIMIT_EXCEEDED, "this API key has 5 open streams; close one first")
            case TooManyStreams.OF_PROCESS:
                raise _too_many(503, Code.UNAVAILABLE, "too many streams are open; try again")
            case _:
                return stream


def _too_many(status: int, code: Code, sentence: str) -> ApiError:
    return ApiError(status, code, sentence, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _cursor_of(request: web.Request, query: StreamQuery) -> Cursor | None:
    name, text = LAST_EVENT_ID, request.headers.get(LAST_EVENT_ID)
    if not text:  # browsers send an empty one where they had none
        name, text = "cursor", query.cursor
    if text is None:
        return None
    cursor = Cursor.read(text)
    if cursor is None:
        raise invalid("the request is not valid", {name: ["must be the id of a message of a stream, unchanged"]})
    return cursor


async def _frames(stream: OpenStream, wanted: Wanted) -> AsyncIterator[bytes]:
    """What the stream says, and that it lives."""
    yield comment("open", stream.cursor)
    while True:
        try:
            async with asyncio.timeout(COMMENT_SECONDS):
                messages = await stream.take()
        except TimeoutError:
            yield comment("nothing new", stream.cursor)
            continue
        yield b"".join(_frame(each, wanted) for each in messages)
        if any(isinstance(each.told, Closed) for each in messages):
            return


def _frame(message: Message, wanted: Wanted) -> bytes:
    match message.told:
        case RecordedEvent():
            return frame("event", message.text, message.cursor)
        case RecordedAttempt():
            return frame("attempt", message.text, message.cursor)
        case Gap() as gap:
            return frame("gap", _gap(gap, wanted).model_dump_json().encode(), message.cursor)
        case Closed(reason):
            return frame("closed", ClosedTold(reason=reason).model_dump_json().encode(), message.cursor)
        case _:
            assert_never(message.told)


def _gap(gap: Gap, wanted: Wanted) -> GapTold:
    types = {"event_type": wanted.event_types}
    return GapTold(
        reason=gap.reason,
        events=_list("/v1/events", gap.events_since, types),
        deliveries=_list("/v1/deliveries", gap.deliveries_since, types | {"endpoint_id": wanted.endpoint_ids}),
    )


def _list(path: str, since: datetime | None, filters: dict[str, AbstractSet[str]]) -> str | None:
    if since is None:
        return None
    given = {name: ",".join(sorted(values)) for name, values in filters.items() if values}
    return f"{path}?{urlencode({'order': 'asc', 'since': format_timestamp(since), **given})}"


def row_json(row: Recorded) -> bytes:
    """A row as JSON, on one line."""
    if isinstance(row, RecordedEvent):
        return on_one_line(event_json(EventView(row.event_uid, row.body), body=row.body.decode()))
    return (
        AttemptTold(
            delivery_id=str(row.delivery_key),
            event_id=row.event_id,
            event_type=row.event_type,
            endpoint_id=row.endpoint_id,
            number=row.place.number,
            started_at=row.started_at,
            duration_ms=row.duration_ms,
            outcome=row.outcome,
            reason=row.reason,
            status=row.status,
            is_counted=row.is_counted,
            detail=row.detail,
            reply=row.reply,
            state=row.state,
            next_attempt_at=row.next_attempt_at,
        )
        .model_dump_json()
        .encode()
    )
