"""``/v1/deliveries``: list deliveries, show their attempts, and replay them."""

from typing import Annotated, Final, Literal

from pydantic import Field, WithJsonSchema

from service.api.cursor import write_cursor
from service.api.errors import ApiError, Code
from service.api.instant import Instant
from service.api.operation import Answer, Call, Operation
from service.api.page import Page, bad_cursor, keyset_of
from service.api.v1.event_queries import ID_PATTERN, EventsQuery
from service.api.validation import AnswerModel
from service.core.deliveries.delivery import DeliveryKey, State
from service.core.deliveries.headers import REPLY_HEADERS_KEPT_BYTES_MAX, REPLY_HEADERS_KEPT_MAX, event_headers
from service.core.deliveries.outcome import OutcomeKind
from service.core.deliveries.view import DeliveryDetail, DeliveryFilter, DeliveryView, ReplayRefused
from service.core.reason import Reason
from service.ports.desk import DeliveryDesk, ReplayDesk
from webhook_signature.sign import HEADER_ID
from webhook_signature.styles import STYLES

TAG: Final = "deliveries"


StateAsked = Annotated[State, WithJsonSchema({"type": "string", "enum": [each.value for each in State]})]
ReasonAsked = Annotated[Reason, WithJsonSchema({"type": "string", "enum": [each.value for each in Reason]})]
"""Enums inlined: query parameters have no definitions to refer to."""


class DeliveriesQuery(EventsQuery):
    """Filters for deliveries; all of them must hold."""

    endpoint_id: str | None = Field(
        default=None,
        pattern=ID_PATTERN,
        description="Only deliveries to this endpoint.",
        examples=["ep_7k2m9x4c1v8b3n6h"],
    )
    event_id: str | None = Field(default=None, pattern=ID_PATTERN, description="Only deliveries of this event.")
    state: StateAsked | None = Field(default=None, description="Only deliveries in this state.")
    status_code: int | None = Field(
        default=None,
        ge=0,
        le=999,
        description="Only deliveries whose last answer had this HTTP status.",
        examples=[503],
    )
    reason: ReasonAsked | None = Field(
        default=None, description="Only deliveries that ended, or last failed, for this reason.", examples=["timeout"]
    )


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
    next_attempt_at: Instant | None = Field(description="When a pending delivery is due.")
    ended_at: Instant | None


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

    def __init__(self, desk: DeliveryDesk, replays: ReplayDesk) -> None:
        self._desk = desk
        self._replays = replays

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations."""
        return (
            Operation(
                "GET",
                "/v1/deliveries",
                name="list_deliveries",
                summary="List deliveries",
                description="Newest event first. `since` and `until` refer to when the event was received.",
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
            endpoint_id=query.endpoint_id,
            event_id=query.event_id,
            state=query.state,
            event_type=query.event_type,
            status_code=query.status_code,
            reason=query.reason,
            since=query.since,
            until=query.until,
        )
        found, following = await self._desk.list(wanted, limit=query.limit, before=_before(query))
        next_cursor = write_cursor(str(following)) if following is not None else None
        page = Page[DeliveryItem](
            data=list(map(_item, found)), has_more=next_cursor is not None, next_cursor=next_cursor
        )
        return Answer(200, page)

    async def show(self, call: Call) -> Answer:
        """Show one delivery."""
        key = _key(call)
        found = await self._desk.show(key, call.organization_id)
        if found is None:
            raise _no_delivery(call)
        attempts = [_attempt(found, key, index) for index in range(len(found.attempts))]
        return Answer(200, DeliveryShown(**_item(found.delivery).model_dump(), attempts=attempts))

    async def replay(self, call: Call) -> Answer:
        """Create a new delivery of the same event."""
        made = await self._replays.replay(call.organization_id, _key(call), by=call.actor)
        if made is None:
            raise _no_delivery(call)
        if isinstance(made, ReplayRefused):
            raise ApiError(409, Code.CONFLICT, made.sentence)
        return Answer(202, _item(made))


def _before(query: DeliveriesQuery) -> DeliveryKey | None:
    keyset = keyset_of(query, str)
    if keyset is None:
        return None
    key = DeliveryKey.parse(keyset[0])
    if key is None:
        raise bad_cursor()
    return key


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
