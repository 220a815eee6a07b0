"""``/v1/event-types``: list the built-in and the organization's own event types, and register new ones."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from pydantic import AfterValidator, Field

from service.api.errors import ApiError, Code, FieldErrors, about, invalid
from service.api.instant import Instant
from service.api.lists.keyset import Keyset
from service.api.lists.page import OrderedQuery, Page, page_of_json, read_page
from service.api.operation import WITH_BODY_POSSIBLE, Answer, Call, Operation
from service.api.validation import AnswerModel, BodyModel
from service.core.endpoints.refusals import CapReached
from service.core.events.own_types.new_type import SAMPLE_BYTES_MAX, WrittenType, write_type
from service.core.events.own_types.own_type import OWN_TYPES_MAX, SCHEMA_BYTES_MAX, is_same_json
from service.core.events.registry import BUILT_IN, NAME_LENGTH_MAX, NAME_PATTERN, Complaint, is_event_type_name
from service.core.events.schema import DescribedType, built_in_types, sample_json
from service.core.events.types.operational import RESERVED_PREFIXES
from service.core.events.view import OwnTypeName, OwnTypeView, Registration
from service.core.field_code import FieldCode, FieldSentence
from service.core.timestamp import format_timestamp
from service.core.walk import Walk
from service.ports.desk import EventTypeDesk

PATH: Final = "/v1/event-types"
DESCRIPTION_LENGTH_MAX: Final = 1000

WriteAside = Callable[
    [str, Callable[[], WrittenType | Sequence[Complaint]]], Awaitable[WrittenType | Sequence[Complaint]]
]
"""Does work for an organization off the event loop, in its turn. Implemented by ``Turns.run``."""

_EXAMPLE_SCHEMA: Final = {
    "type": "object",
    "required": ["order"],
    "properties": {
        "order": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
    },
}
_EXAMPLE_SAMPLE: Final = {"order": {"id": "ord_7"}}


def _not_reserved(name: str) -> str:
    if name.startswith(RESERVED_PREFIXES):
        sentence = f"must not begin with {' or '.join(RESERVED_PREFIXES)} (reserved for Posthorn's own types)"
        raise ValueError(FieldSentence(sentence, FieldCode.NOT_ALLOWED))
    return name


class NewEventType(BodyModel):
    """An event type to register."""

    name: Annotated[str, AfterValidator(_not_reserved)] = Field(
        pattern=f"^{NAME_PATTERN}$",
        max_length=NAME_LENGTH_MAX,
        description=f"Lower case, dotted. Must not begin with {' or '.join(map('`{}`'.format, RESERVED_PREFIXES))}.",
        examples=["order.placed"],
    )
    description: str = Field(
        default="",
        max_length=DESCRIPTION_LENGTH_MAX,
        description="When such an event happens.",
        examples=["A customer placed an order."],
    )
    schema_: dict[str, Any] = Field(
        alias="schema",
        description=(
            f"JSON Schema (2020-12) of `data`, at most {SCHEMA_BYTES_MAX} bytes, without external "
            "references and `patternProperties`. RE2 searches for a `pattern`: it has no look-around and no back "
            "references. A text longer than 256 characters matches none."
        ),
        examples=[_EXAMPLE_SCHEMA],
    )
    sample: dict[str, Any] | None = Field(
        default=None,
        description=f"A sample of `data`, at most {SAMPLE_BYTES_MAX} bytes, which the schema must allow; test sends "
        "deliver it. Default: made from the schema, if that can be.",
        examples=[_EXAMPLE_SAMPLE],
    )


class EventTypeAnswer(AnswerModel):
    """An event type."""

    name: str = Field(examples=["message.sent"])
    description: str = Field(description="When such an event happens.")
    is_builtin: bool = Field(description="False for a type that the organization registered.")
    schema_: dict[str, Any] = Field(alias="schema", description="JSON Schema (2020-12) of the event's `data`.")
    sample: dict[str, Any] | None = Field(
        description="A complete envelope; null for an own type that was given no sample and whose schema yields none."
    )
    created_at: Instant | None = Field(description="When it was registered; null for built-in types.")


class EventTypeName(AnswerModel):
    """An event type without its schema and its sample."""

    name: str = Field(examples=["message.sent"])
    description: str = Field(description="When such an event happens.")
    is_builtin: bool = Field(description="False for a type that the organization registered.")
    created_at: Instant | None = Field(description="When it was registered; null for built-in types.")


class EventTypesQuery(OrderedQuery):
    """Which page of the event types."""

    order: Literal["asc", "desc"] = Field(
        default="asc",
        description="`asc`: built-in types first, then the organization's own by name; `desc`: the other way round. "
        "The same for all pages of a list.",
    )


class EventTypeOperations:
    """Handlers of ``/v1/event-types``."""

    def __init__(self, desk: EventTypeDesk, aside: WriteAside, now: Callable[[], datetime]) -> None:
        self._desk = desk
        self._aside = aside
        self._now = now

    async def page(self, call: Call) -> Answer:
        """List built-in types first, then the organization's own by name."""
        built_in = built_in_types(call.organization_id, self._now())
        own = partial(self._desk.list, call.organization_id)
        page = await read_page(call.query, _WHOLE_BY_NAME, partial(_listed, built_in, own))
        return Answer(200, text=page_of_json((self._json(call, each) for each in page.rows), page.links))

    async def names(self, call: Call) -> Answer:
        """List the same without schemas and samples, which may be megabytes."""
        built_in = built_in_types(call.organization_id, self._now())
        own = partial(self._desk.list_names, call.organization_id)
        page = await read_page(call.query, _BY_NAME, partial(_listed, built_in, own))
        data = [
            EventTypeName(
                name=each.name,
                description=each.description,
                is_builtin=isinstance(each, DescribedType),
                created_at=None if isinstance(each, DescribedType) else each.created_at,
            )
            for each in page.rows
        ]
        return Answer(200, Page[EventTypeName](data=data, **page.links))

    async def get(self, call: Call) -> Answer:
        """Show one type, built in or the organization's own."""
        name = call.path("name")
        found: DescribedType | OwnTypeView | None = None
        if name in BUILT_IN:
            found = built_in_types(call.organization_id, self._now())[BUILT_IN.index(name)]
        elif is_event_type_name(name):
            found = await self._desk.find(call.organization_id, name)
        if found is None:
            raise ApiError(404, Code.NOT_FOUND, f"no event type {name[:80]!r}")
        return Answer(200, text=self._json(call, found).decode())

    async def post(self, call: Call) -> Answer:
        """Register a type; registering it again changes nothing."""
        body: NewEventType = call.body
        if body.name in BUILT_IN:
            raise _conflict(f"{body.name} is a built-in type", "is the name of a built-in type")
        # A large schema takes a third of a second, which would block the event loop.
        written = await self._aside(call.organization_id, partial(write_type, body.name, body.schema_, body.sample))
        if not isinstance(written, WrittenType):
            raise invalid("the event type is not valid", _told(written))
        schema, sample = written.schema, written.sample
        registered = await self._desk.register(
            call.organization_id, body.name, body.description, schema, sample, by=call.actor
        )
        if isinstance(registered, CapReached):
            raise _conflict(registered.sentence, registered.sentence)
        registration, row = registered
        if registration is Registration.KNOWN:
            row = await self._known(call, row, written, is_given=body.sample is not None)
        shown = self._json(call, row).decode()
        if registration is Registration.KNOWN:
            return Answer(200, text=shown)
        return Answer(201, text=shown, headers={"Location": f"{PATH}/{row.name}"})

    async def _known(self, call: Call, row: OwnTypeView, written: WrittenType, *, is_given: bool) -> OwnTypeView:
        """The type that is registered under this name already; a sample that it does not have is added to it."""
        if not is_same_json(row.schema, written.schema):
            sentence = "is registered with a different schema, and schemas cannot change; choose another name"
            raise _conflict(f"{row.name} {sentence}", sentence)
        if row.sample is None and written.sample is not None:
            row = await self._desk.add_sample(call.organization_id, row.name, written.sample, by=call.actor) or row
        if is_given and (row.sample is None or not is_same_json(row.sample, written.sample or "")):
            sentence = "has another sample already, and types cannot change; leave it out"
            raise ApiError(
                409,
                Code.CONFLICT,
                f"{row.name} {sentence}",
                errors=about("sample", sentence, FieldCode.NOT_ALLOWED),
            )
        return row

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations."""
        return (
            Operation(
                "GET",
                PATH,
                name="list_event_types",
                summary="List event types",
                description="Built-in types first, then the organization's own by name. A page of large schemas has "
                "fewer than `limit`.",
                tag="event types",
                scope="read",
                handler=self.page,
                query=EventTypesQuery,
                answers={200: Page[EventTypeAnswer]},
            ),
            Operation(
                "GET",
                f"{PATH}/names",
                name="list_event_type_names",
                summary="List the names of event types",
                description="The same list without schemas and samples.",
                tag="event types",
                scope="read",
                handler=self.names,
                query=EventTypesQuery,
                answers={200: Page[EventTypeName]},
            ),
            Operation(
                "GET",
                f"{PATH}/{{name}}",
                name="get_event_type",
                summary="Get an event type",
                tag="event types",
                scope="read",
                handler=self.get,
                answers={200: EventTypeAnswer},
                problems=frozenset({404}),
            ),
            Operation(
                "POST",
                PATH,
                name="register_event_type",
                summary="Register an event type",
                description=_REGISTERING,
                tag="event types",
                scope="admin",
                handler=self.post,
                body=NewEventType,
                answers={201: EventTypeAnswer, 200: EventTypeAnswer},
                problems=WITH_BODY_POSSIBLE | {409},
                example={
                    "name": "order.placed",
                    "description": "A customer placed an order.",
                    "schema": _EXAMPLE_SCHEMA,
                    "sample": _EXAMPLE_SAMPLE,
                },
            ),
        )

    def _json(self, call: Call, row: DescribedType | OwnTypeView) -> bytes:
        """An ``EventTypeAnswer``; what is stored as JSON goes into it as it is: to read it would take long."""
        schema: object = row.schema
        sample: object = row.sample
        created_at = None
        if isinstance(row, OwnTypeView):
            schema, created_at = msgspec.Raw(row.schema.encode()), format_timestamp(row.created_at)
            if row.sample is not None:
                sample = msgspec.Raw(sample_json(row.name, call.organization_id, row.created_at, row.sample))
        return msgspec.json.encode(
            {
                "name": row.name,
                "description": row.description,
                "is_builtin": not isinstance(row, OwnTypeView),
                "schema": schema,
                "sample": sample,
                "created_at": created_at,
            }
        )


_Own = TypeVar("_Own")


async def _listed(
    built_in: Sequence[DescribedType], own: Callable[[Walk[str]], Awaitable[Sequence[_Own]]], walk: Walk[str]
) -> Sequence[DescribedType | _Own]:
    """The built-in types as they are ordered, then the organization's own; with ``is_descending``, backwards."""
    index = BUILT_IN.index(walk.beside) if walk.beside is not None and walk.beside in BUILT_IN else None
    found: list[DescribedType | _Own] = []
    if walk.is_descending:
        if index is None:
            found += await own(walk)
        return [*found, *built_in[:index][::-1]][: walk.limit]
    if index is not None or walk.beside is None:
        found += built_in[0 if index is None else index + 1 :]
    if len(found) < walk.limit:
        beside = walk.beside if index is None else None
        found += await own(replace(walk, limit=walk.limit - len(found), beside=beside))
    return found[: walk.limit]


def _name(text: str) -> str:
    if not is_event_type_name(text):
        raise ValueError("not the name of an event type")
    return text


_WHOLE_BY_NAME: Final[Keyset[DescribedType | OwnTypeView, str]] = Keyset(
    of=lambda row: row.name,
    kinds=(str,),
    write=lambda name: (name,),
    read=_name,
    is_whole=lambda row: bool(row.schema),
)
_BY_NAME: Final[Keyset[DescribedType | OwnTypeName, str]] = Keyset(
    of=lambda row: row.name, kinds=(str,), write=lambda name: (name,), read=_name
)


_REGISTERING: Final = f"""From then on, events of this type are accepted if their `data` satisfies the schema;
others are refused, with the path of the invalid field. An event whose check takes too long is refused.

Registering the same name with an equal schema again answers 200 with the existing type, which gets the sample if it
has none; a different schema or sample, or the name of a built-in type, answers 409. An organization can have up to
{OWN_TYPES_MAX} types, unless the operator says otherwise; one more answers 409. They cannot be changed or removed.

From the broker, only events that the intake queue is bound to arrive (`POSTHORN_AMQP_BINDINGS`). `POST /v1/events`
accepts all types."""


def _told(complaints: Sequence[Complaint]) -> FieldErrors:
    return {each.field: [FieldSentence(each.detail, each.code)] for each in complaints}


def _conflict(sentence: str, about_name: str) -> ApiError:
    return ApiError(409, Code.CONFLICT, sentence, errors=about("name", about_name, FieldCode.NOT_ALLOWED))
