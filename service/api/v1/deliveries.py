"""``/v1/deliveries``: list deliveries, show their attempts, and replay them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import Field, WithJsonSchema

from service.api.errors import ApiError, Code
from service.api.instant import Instant
from service.api.lists.keyset import Keyset
from service.api.lists.page import Page, page_of_json, read_page
from service.api.lists.several import Several
from service.api.operation import Answer, Call, Operation
from service.api.v1.endpoints.answers import GateShown
from service.api.v1.event_queries import ID_PATTERN, EventsQuery
from service.api.v1.events import EventItem, event_json
from service.api.validation import AnswerModel, QueryModel
from service.core.deliveries.delivery import DeliveryKey, State
from service.core.deliveries.headers import REPLY_HEADERS_KEPT_BYTES_MAX, REPLY_HEADERS_KEPT_MAX, event_headers
from service.core.deliveries.outcome import OutcomeKind
from service.core.deliveries.view import (
    STATUS_PATTERN,
    DeliveryDetail,
    DeliveryFilter,
    DeliveryView,
    ReplayRefused,
    status_range,
)
from service.core.events.view import EventView
from service.core.reason import Reason
from service.core.walk import Walk
from service.ports.desk import DeliveryDesk, EventDesk, ReplayDesk
from webhook_signature.sign import HEADER_ID
from webhook_signature.styles import STYLES

TAG: Final = "deliveries"


StateAsked = Annotated[State, WithJsonSchema({"type": "string", "enum": [each.value for each in State]})]
ReasonAsked = Annotated[Reason, WithJsonSchema({"type": "string", "enum": [each.value for each in Reason]})]
"""Enums inlined: query parameters have no definitions to refer to."""


EndpointIdAsked = Annotated[str, Field(pattern=ID_PATTERN)]
StatusAsked = Annotated[str, Field(pattern=f"^({STATUS_PATTERN})$")]
Expand = Literal["event"]
EXPAND: Final = Field(
    default=None,
    description="`event` adds the event as `event`: null if it is no longer stored. A page of large events has fewer "
    "than `limit`.",
)


class DeliveryQuery(QueryModel):
    """What to show of a delivery."""

    expand: Expand | None = EXPAND


class DeliveriesQuery(EventsQuery):
    """Filters for deliveries; all of them must hold. Of several values, separated by commas, one must."""

    endpoint_id: Several[EndpointIdAsked] | None = Field(
        default=None,
        description="Only deliveries to this endpoint, or to one of these.",
        examples=[["ep_7k2m9x4c1v8b3n6h"]],
    )
    event_id: str | None = Field(default=None, pattern=ID_PATTERN, description="Only deliveries of this event.")
    state: Several[StateAsked] | None = Field(
        default=None, description="Only deliveries in this state, or in one of these.", examples=[["dead", "cancelled"]]
    )
    status_code: Several[StatusAsked] | None = Field(
        default=None,
        description="Only deliveries whose last answer had this HTTP status: `503`, or `5xx` for all from 500 to 599.",
        examples=[["429", "5xx"]],
    )
    reason: Several[ReasonAsked] | None = Field(
        default=None,
        description="Only deliveries that ended, or last failed, for this reason, or for one of these.",
        examples=[["timeout"]],
    )
    expand: Expand | None = EXPAND


class DeliveryItem(AnswerModel):
    """The promise to get one event to one subscription. The final states are delivered, dead and cancelled."""

    id: str = Field(examples=["dlv_0193ab6e7c5d7a10b3f24c9d8e7f6a5b_17"])
    event_id: str
    event_type: str
    endpoint_id: str
    subscription_id: int
    replay_number: int = Field(description="0 is the first delivery.")
    state: State
    reason: Reason | None = Field(description="Why it ended, or why its last attempt failed.")
    last_status: int | None = Field(description="The HTTP status of the last attempt that got an answer.")
    attempts_made: int = Field(description="Attempts that count towards the limit.")
    created_at: Instant
    attempts_max: int | None = Field(
        description="The attempts that its endpoint's schedule allows now; null once it has ended, and if the schedule "
        "cannot be read.",
        examples=[12],
    )
    next_attempt_at: Instant | None = Field(description="When a pending delivery is due.")
    held_by: GateShown | None = Field(
        description="The gate of its endpoint that keeps a pending delivery back beyond that: of several the one that "
        "opens last. null if it goes when it is due."
    )
    ended_at: Instant | None
    event: EventItem | None = Field(
        default=None, description="The event, with `expand=event`; null if it is no longer stored. Otherwise left out."
    )


class RequestShown(AnswerModel):
    """The request of an attempt, as it was signed. Whether it reached the receiver, the attempt's `reason` says."""

    method: Literal["POST"] = "POST"
    url: str = Field(description="The endpoint's URL now, with `?***` instead of its query.")
    headers: dict[str, str] = Field(
        description="With the signatures that were sent. The values of the endpoint's own headers, and of "
        "`Authorization`, are shown as `***`.",
        examples=[
            {
                "webhook-attempt": "1",
                "webhook-id": "evt_1",
                "webhook-timestamp": "1763749535",
                "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
                "X-Team": "***",
            }
        ],
    )
    is_recorded: bool = Field(
        description="False if what was sent is not known: the worker was lost, no request could be made, or the "
        "attempt is older than the recording. Then signatures and the endpoint's own headers are missing."
    )
    body_bytes: int | None = Field(description="The size of the body (the event); null if no longer stored.")


class AttemptShown(AnswerModel):
    """One attempt."""

    number: int
    started_at: Instant
    duration_ms: int
    outcome: OutcomeKind
    reason: Reason | None
    status: int | None = Field(description="The HTTP status; null without a complete answer.")
    is_counted: bool = Field(
        description="False if the fault was Posthorn's, or the reply came too late: not counted towards the limit."
    )
    detail: str
    request: RequestShown
    reply: str = Field(description="The start of the answer's body, at most 1 KiB.")
    reply_headers: dict[str, str] | None = Field(
        description=f"The answer's first headers, at most {REPLY_HEADERS_KEPT_MAX} and "
        f"{REPLY_HEADERS_KEPT_BYTES_MAX} bytes, without cookies and what sounds like a credential. Null if there was "
        "no answer, or if they were not recorded.",
        examples=[{"Content-Type": "application/json", "Date": "Fri, 21 Nov 2025 18:25:35 GMT"}],
    )


class DeliveryShown(DeliveryItem):
    """A delivery with every attempt, oldest first."""

    attempts: list[AttemptShown]


class DeliveryOperations:
    """Reads and replays deliveries."""

    def __init__(self, desk: DeliveryDesk, replays: ReplayDesk, events: EventDesk) -> None:
        self._desk = desk
        self._replays = replays
        self._events = events

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations."""
        return (
            Operation(
                "GET",
                "/v1/deliveries",
                name="list_deliveries",
                summary="List deliveries",
                description="Newest event first. `since` and `until` refer to when the event was received. A page with "
                "`brand_id`, `campaign_id` or `project_id` may have fewer than `limit`, or none, and still a "
                "`next_cursor`.",
                tag=TAG,
                scope="read",
                handler=self.list,
                query=DeliveriesQuery,
                answers={200: Page[DeliveryItem]},
            ),
            Operation(
                "GET",
                "/v1/deliveries/{id}",
                name="get_delivery",
                summary="Get a delivery",
                description="Includes every attempt with its request and its reply.",
                tag=TAG,
                scope="read",
                handler=self.show,
                query=DeliveryQuery,
                answers={200: DeliveryShown},
                problems=frozenset({404}),
            ),
            Operation(
                "POST",
                "/v1/deliveries/{id}/replay",
                name="replay_delivery",
                summary="Replay a delivery",
                description="Creates a new delivery of the same event, due at once, with the same `webhook-id` and "
                "body. 409 if the delivery is not final yet, or if its subscription or event no longer exists.",
                tag=TAG,
                scope="write",
                handler=self.replay,
                answers={202: DeliveryItem},
                problems=frozenset({404, 409}),
            ),
        )

    async def list(self, call: Call) -> Answer:
        """List one page of deliveries."""
        query: DeliveriesQuery = call.query
        wanted = DeliveryFilter(
            organization_id=call.organization_id,
            endpoint_ids=query.endpoint_id or (),
            event_id=query.event_id,
            message_id=query.message_id,
            states=query.state or (),
            event_types=query.event_type or (),
            statuses=list(map(status_range, query.status_code or ())),
            reasons=query.reason or (),
            since=query.since,
            until=query.until,
            scope=query.scope,
        )

        async def fetch(walk: Walk[DeliveryKey]) -> Sequence[_Row]:
            found = await self._desk.list(wanted, walk)
            rows: Sequence[_Row] = [_Row(_key_of(each.id), each) for each in found.rows]
            if query.expand:
                rows = await self._with_events(call, rows)
            return rows if found.reached is None else [*rows, _Row(found.reached)]

        page = await read_page(query, _BY_KEY, fetch)
        return Answer(200, text=page_of_json(map(_json, page.rows), page.links))

    async def _with_events(self, call: Call, rows: Sequence["_Row"]) -> Sequence["_Row"]:
        """The rows with their events; those that there is no room for are not whole."""
        uids = [each.key.event_uid for each in rows]
        bodies = await self._events.bodies(call.organization_id, uids)
        by_uid = dict(zip(uids, bodies, strict=False))
        events = {uid: _event_of(uid, body) for uid, body in by_uid.items()}
        whole = [replace(each, event=events[each.key.event_uid]) for each in rows[: len(bodies)]]
        return [*whole, *(replace(each, is_whole=False) for each in rows[len(bodies) :])]

    async def show(self, call: Call) -> Answer:
        """Show one delivery with its attempts."""
        query: DeliveryQuery = call.query
        key = _key(call)
        found = await self._desk.show(key, call.organization_id)
        if found is None:
            raise _no_delivery(call)
        attempts = [_attempt(found, key, index) for index in range(len(found.attempts))]
        shown = DeliveryShown(**_item(found.delivery).model_dump(exclude={"event"}), attempts=attempts)
        event = None
        if query.expand:
            (body,) = await self._events.bodies(call.organization_id, [key.event_uid])
            event = _event_of(key.event_uid, body)
        return Answer(200, text=_with_event(shown, event).decode())

    async def replay(self, call: Call) -> Answer:
        """Create a new delivery of the same event."""
        made = await self._replays.replay(call.organization_id, _key(call), by=call.actor)
        if made is None:
            raise _no_delivery(call)
        if isinstance(made, ReplayRefused):
            raise ApiError(409, Code.CONFLICT, made.sentence)
        return Answer(202, text=_with_event(_item(made), None).decode())


@dataclass(frozen=True, slots=True)
class _Row:
    """A delivery, and its event as JSON if it is asked for; without room for that it is not whole.

    Without a delivery it says how far the list was read.
    """

    key: DeliveryKey
    delivery: DeliveryView | None = None
    event: bytes | None = None
    is_whole: bool = True


def _key_of(text: str) -> DeliveryKey:
    key = DeliveryKey.parse(text)
    if key is None:
        raise ValueError("not the id of a delivery")
    return key


_BY_KEY: Final[Keyset[_Row, DeliveryKey]] = Keyset(
    of=lambda row: row.key,
    kinds=(str,),
    write=lambda key: (str(key),),
    read=_key_of,
    is_whole=lambda row: row.is_whole and row.delivery is not None,
    is_reached=lambda row: row.delivery is None,
)


def _event_of(uid: UUID, body: bytes | None) -> bytes:
    """The event as JSON, null if it is no longer stored."""
    return b"null" if body is None else event_json(EventView(uid, body))


def _json(row: _Row) -> bytes:
    assert row.delivery is not None  # noqa: S101 - such a row is not shown
    return _with_event(_item(row.delivery), row.event)


def _with_event(shown: DeliveryItem, event: bytes | None) -> bytes:
    """The delivery as JSON, with its event if one is given: its stored bytes, so that numbers keep their notation."""
    whole = shown.model_dump_json(exclude={"event"}).encode()
    return whole if event is None else b'%b,"event":%b}' % (whole[:-1], event)


def _key(call: Call) -> DeliveryKey:
    key = DeliveryKey.parse(call.path("id"))
    if key is None:
        raise _no_delivery(call)
    return key


def _no_delivery(call: Call) -> ApiError:
    return ApiError(404, Code.NOT_FOUND, f"no delivery {call.path('id')[:80]!r}")


def _item(delivery: DeliveryView) -> DeliveryItem:
    return DeliveryItem.model_validate(delivery, from_attributes=True)


def _attempt(found: DeliveryDetail, key: DeliveryKey, index: int) -> AttemptShown:
    attempt, delivery = found.attempts[index], found.delivery
    number = sum(each.is_counted for each in found.attempts[:index]) + 1
    headers = event_headers(key, delivery.event_id, delivery.event_type, number)
    if attempt.sent_headers is not None:
        headers.update(attempt.sent_headers)
    elif HEADER_ID in STYLES[found.signature_style].headers:  # the others have no header for the id alone
        headers[HEADER_ID] = delivery.event_id
    return AttemptShown(
        number=attempt.number,
        started_at=attempt.started_at,
        duration_ms=attempt.duration_ms,
        outcome=attempt.outcome,
        reason=attempt.reason,
        status=attempt.status,
        is_counted=attempt.is_counted,
        detail=attempt.detail,
        request=RequestShown(
            url=found.url,
            headers=headers,
            is_recorded=attempt.sent_headers is not None,
            body_bytes=found.body_bytes,
        ),
        reply=attempt.reply,
        reply_headers=dict(attempt.reply_headers) if attempt.reply_headers is not None else None,
    )
