"""``POST /v1/events``: the same intake as the broker's, for producers without AMQP. 202 only after COMMIT."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from pydantic import Field

from service.api.component import named
from service.api.entrance.idempotency import IDEMPOTENCY_KEY
from service.api.errors import ApiError, Code, FieldErrors, invalid
from service.api.operation import WITH_BODY_POSSIBLE, Answer, Call, Limit, Operation, OtherBody
from service.api.validation import JSON, AnswerModel, bounded_errors, read_object
from service.core.events.event import BODY_BYTES_MAX, CLOUDEVENTS, Event, Rejected, parse_event
from service.core.events.event_id import event_id_of
from service.core.events.judged import Judged
from service.core.events.registry import Complaint
from service.core.events.schema import cloudevent_schema
from service.core.field_code import FieldCode, FieldSentence
from service.core.keys.api_key import StoredKey
from service.core.reason import ParkReason
from service.core.wording import count_of
from service.ports.store import Disposition

EVENTS_MAX: Final = 100
BATCH_BYTES_MAX: Final = 16 * BODY_BYTES_MAX
SOURCE_NAME: Final = "http"

JudgeEvents = Callable[[Sequence[Event]], Awaitable[Sequence[Judged | Rejected]]]
"""Returns, in order, whether each event may be recorded; records nothing. Implemented by ``Intake.judge``."""
RecordEvents = Callable[[Sequence[Judged], str], Awaitable[Sequence[Disposition | Rejected]]]
"""Records events together and returns, in order, what became of each. Implemented by ``Intake.record``."""

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Outermost(msgspec.Struct):
    """What tells a batch from an envelope; other keys are passed over without being read."""

    events: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    type: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_outermost_of = msgspec.json.Decoder(_Outermost)
_items_of = msgspec.json.Decoder(
    # Of a list, the decoder would first make every item: of "[1,1,…" two million. Of this, it stops after EVENTS_MAX.
    msgspec.defstruct(
        "_Items",
        [(f"item{number}", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for number in range(EVENTS_MAX)],
        array_like=True,
        forbid_unknown_fields=True,
    )
)


class Published(AnswerModel):
    """What became of one event."""

    id: str
    status: Literal["accepted", "duplicate", "conflict"] = Field(
        description="`duplicate`: it was recorded before, and is not sent again. `conflict`: a different event with "
        "this id was recorded before; this one is not."
    )
    reason: str | None = Field(description="Why it conflicts; null otherwise.")


class PublishedEvents(AnswerModel):
    """What became of each event, in order."""

    data: list[Published]


def _one_or_many(event: Mapping[str, Any], batch_name: str) -> Mapping[str, Any]:
    batch = {
        "type": "object",
        "description": "Several events. One that is not valid refuses all of them.",
        "required": ["events"],
        "properties": {"events": {"type": "array", "minItems": 1, "maxItems": EVENTS_MAX, "items": event}},
    }
    return {"oneOf": [event, named(batch_name, batch)]}


_BODY_SCHEMA: Final = _one_or_many({"$ref": "#/components/schemas/PublishedEnvelope"}, "EventBatch")
_CLOUDEVENTS_SCHEMA: Final = _one_or_many(named("CloudEvent", cloudevent_schema()), "CloudEventBatch")
_EXAMPLE: Final = {
    "id": "evt_01JD5Z7Q8M3V9K2B4N6P8R0T1W",
    "type": "link.clicked",
    "timestamp": "2026-11-20T18:25:35.123456Z",
    "data": {
        "message": {"id": "msg_7f8a9b0c"},
        "link": {"url": "https://www.example.org/vote", "short_url": "https://go.example/a1"},
        "click": {"id": "clk_1", "clicked_at": "2026-11-20T18:25:35.123456Z"},
    },
}
_CLOUDEVENT_EXAMPLE: Final = {
    "specversion": "1.0",
    "source": "https://platform.example/messages",
    **{{"timestamp": "time"}.get(name, name): each for name, each in _EXAMPLE.items()},
}


@dataclass(frozen=True, slots=True)
class _Submission:
    """The envelopes of one request, as bytes; ``fields`` is set for a single envelope that is a JSON object."""

    bodies: Sequence[bytes]
    is_batch: bool
    fields: Mapping[str, msgspec.Raw] | None = None

    def errors(self, rejected: Sequence[tuple[int, Rejected]]) -> FieldErrors:
        """All problems of these events, given with their indexes: the first of each, then the others; bounded."""
        found: dict[str, list[str]] = {}
        for index, why in rejected:
            found[self.name(index, why.field)] = [_coded(why.complaints[0])]
        for index, why in rejected:
            for each in why.others:
                found.setdefault(self.name(index, each.field), [_coded(each)])
        return bounded_errors(found)

    def name(self, index: int, field: str | None) -> str:
        """The key under which an error about an event is reported."""
        if not self.is_batch:
            return field or "event"
        return f"events[{index}].{field}" if field else f"events[{index}]"


def _coded(complaint: Complaint) -> FieldSentence:
    return FieldSentence(complaint.detail, complaint.code)


_PUBLISHING: Final = f"""One envelope, or `{{"events": […]}}` with 1 to {EVENTS_MAX} of them. The organization is the
key's.

A 4xx means that nothing was recorded: one invalid event refuses its whole batch, and so does one of a type that the key
may not publish (403). `errors` names everything that is wrong with every event.

202 means that what became of each event is committed: `accepted`, or `duplicate` if the same event was recorded before,
which is not sent again. If a different event with its id was recorded before, an event of a batch is a `conflict`, and
the others are accepted; an event that is sent without a batch is refused with 409.

An event may leave out its `id` if the request has an Idempotency-Key. The id is then made from the key and the event's
place in the batch, so the same request meets the same events whenever it is sent again."""


class PublishEvents:
    """The handler of ``POST /v1/events``."""

    def __init__(self, judge: JudgeEvents, record: RecordEvents, now: Callable[[], datetime]) -> None:
        self._judge = judge
        self._record = record
        self._now = now

    async def post(self, call: Call) -> Answer:
        """Record one envelope or a batch; one invalid event refuses the whole batch."""
        submission = _split(call.body_bytes)
        parsed = await _parse(
            submission,
            call.organization_id,
            self._now(),
            call.request.content_type,
            idempotency_key=call.request.headers.get(IDEMPOTENCY_KEY),
        )
        _refuse_unpermitted(submission, parsed, call.key)
        judgements = iter(await self._judge([event for each in parsed if (event := _judgeable(each)) is not None]))
        judged = _all_valid(submission, [_together(each, judgements) for each in parsed])
        events = [each.event for each in judged]
        outcomes = await self._record(judged, SOURCE_NAME)
        _refuse_unrecorded(submission, events, outcomes)
        published = [_published(event, outcome) for event, outcome in zip(events, outcomes, strict=True)]
        return Answer(202, PublishedEvents(data=published))

    def operation(self) -> Operation:
        """Return the operation."""
        return Operation(
            "POST",
            "/v1/events",
            name="publish_events",
            summary="Publish events",
            description=_PUBLISHING,
            tag="events",
            scope="publish",
            limit=Limit.EVENT_TYPE,
            handler=self.post,
            answers={202: PublishedEvents},
            body_schema=_BODY_SCHEMA,
            media_types=(JSON, CLOUDEVENTS),
            other_bodies={CLOUDEVENTS: OtherBody(_CLOUDEVENTS_SCHEMA, _CLOUDEVENT_EXAMPLE)},
            body_bytes_max=BATCH_BYTES_MAX,
            problems=WITH_BODY_POSSIBLE | {409},
            example=_EXAMPLE,
        )


def _split(body: bytes) -> _Submission:
    """Tell a batch from an envelope: a batch has ``events`` and no ``type``. parse_event rejects anything else."""
    try:
        outermost = _outermost_of.decode(body)
        if isinstance(outermost.events, msgspec.UnsetType) or outermost.type is not msgspec.UNSET:
            fields = _fields_of.decode(body) if len(body) <= BODY_BYTES_MAX else None
            return _Submission((body,), is_batch=False, fields=fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Submission((body,), is_batch=False)
    try:
        items = msgspec.structs.astuple(_items_of.decode(outermost.events))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        items = ()
    bodies = tuple(bytes(item) for item in items if item is not msgspec.UNSET)
    if not bodies:
        sentence = f"must be a list of 1 to {EVENTS_MAX} events"
        raise invalid("the batch is not valid", {"events": [FieldSentence(sentence, FieldCode.OUT_OF_RANGE)]})
    _check_batch(body.replace(bytes(outermost.events), b"null", 1))
    return _Submission(bodies, is_batch=True)


def _check_batch(outline: bytes) -> None:
    """Check what a batch holds beside its events; of a key given twice, only the last value would be recorded."""
    if len(outline) > BODY_BYTES_MAX:
        raise invalid(f"a batch may hold {BODY_BYTES_MAX} bytes beside one list of events, not {len(outline)}")
    read_object(outline)


async def _parse(
    submission: _Submission, organization_id: str, now: datetime, content_type: str, *, idempotency_key: str | None
) -> Sequence[Event | Rejected]:
    """Parse each event, in order; ``Rejected`` where it is not valid."""
    parsed: list[Event | Rejected] = []
    bodies: dict[str, bytes] = {}
    for index, body in enumerate(submission.bodies):
        each = parse_event(
            body,
            now,
            message_id=event_id_of(organization_id, idempotency_key, index) if idempotency_key else None,
            organization_id=organization_id,
            content_type=content_type,
            fields=submission.fields,
        )
        parsed.append(_checked(each, bodies) if isinstance(each, Event) else each)
        await asyncio.sleep(0)  # a large event takes some milliseconds: let the other tasks run
    return parsed


def _all_valid(submission: _Submission, judged: Sequence[Judged | Rejected]) -> Sequence[Judged]:
    """Return the events if all are valid. Raises ``ApiError`` (400, 413) that names every invalid one."""
    rejected = [(index, why) for index, why in enumerate(judged) if isinstance(why, Rejected)]
    if not rejected:
        return [each for each in judged if isinstance(each, Judged)]
    errors = submission.errors(rejected)
    sentence = (
        f"not valid: {len(rejected)} of {count_of(len(submission.bodies), 'event')}" if submission.is_batch else ""
    )
    sentence = sentence or f"the event is not valid: {rejected[0][1].detail}"
    if any(why.reason is ParkReason.TOO_LARGE for _, why in rejected):
        raise ApiError(413, Code.PAYLOAD_TOO_LARGE, sentence, errors=errors)
    raise invalid(sentence, errors)


def _refuse_unpermitted(submission: _Submission, parsed: Sequence[Event | Rejected], key: StoredKey) -> None:
    """Raise ``ApiError`` (403) that names every event of a type that the key may not publish."""
    if key.may("publish"):
        return
    allowed = ", ".join(sorted(each.partition(":")[2] for each in key.scopes if each.startswith("publish:")))
    types = {index: event.type for index, each in enumerate(parsed) if (event := _judgeable(each)) is not None}
    errors = {
        submission.name(index, "type"): [
            FieldSentence(f"this API key may publish only {allowed}, not {event_type}", FieldCode.NOT_ALLOWED)
        ]
        for index, event_type in types.items()
        if not key.may("publish", event_type)
    }
    if errors:
        sentence = f"not permitted: {len(errors)} of {count_of(len(submission.bodies), 'event')}"
        raise ApiError(403, Code.PERMISSION_DENIED, sentence, errors=errors)


def _checked(event: Event, bodies: dict[str, bytes]) -> Event | Rejected:
    """Return the event if it does not conflict with an earlier one of the batch."""
    if bodies.setdefault(event.id, event.body) != event.body:
        return Rejected(ParkReason.CONFLICT, "another event of this batch has the same id", "id", stand_in=event)
    return event


def _judgeable(parsed: Event | Rejected) -> Event | None:
    """The event, or what stands for it, so that its type and data are judged whatever else is wrong."""
    return parsed if isinstance(parsed, Event) else parsed.stand_in


def _together(parsed: Event | Rejected, judgements: Iterator[Judged | Rejected]) -> Judged | Rejected:
    """What is wrong with the envelope, and with its type and data, which the next judgement says; Judged if nothing."""
    if isinstance(parsed, Event):
        return next(judgements)
    if parsed.stand_in is None:
        return parsed
    judged = next(judgements)
    return parsed.with_others(judged.complaints) if isinstance(judged, Rejected) else parsed


def _refuse_unrecorded(
    submission: _Submission, events: Sequence[Event], outcomes: Sequence[Disposition | Rejected]
) -> None:
    """Raise ``ApiError`` if an event was not recorded, unless it is a conflict in a batch, which its answer tells."""
    refused = [(i, outcome) for i, outcome in enumerate(outcomes) if isinstance(outcome, Rejected)]
    if any(why.reason is ParkReason.UNRECORDABLE for _, why in refused):  # its detail is about our database
        ids = ", ".join(events[index].id for index, _ in refused)
        others = "; the others were accepted" if len(refused) < len(events) else ""
        raise ApiError(500, Code.INTERNAL_ERROR, f"not recorded because of an internal error: {ids}{others}")
    if unknown := [(index, why) for index, why in refused if why.reason is not ParkReason.CONFLICT]:
        raise invalid("not recorded", submission.errors(unknown))  # the organization has just been removed
    if refused and not submission.is_batch:
        sentence = f"a different event with the id {events[0].id} is already recorded"
        raise ApiError(409, Code.CONFLICT, sentence, errors=submission.errors(refused))


def _published(event: Event, outcome: Disposition | Rejected) -> Published:
    match outcome:
        case Rejected():
            return Published(id=event.id, status="conflict", reason=outcome.detail)
        case Disposition.DUPLICATE:
            return Published(id=event.id, status="duplicate", reason=None)
        case _:
            return Published(id=event.id, status="accepted", reason=None)
