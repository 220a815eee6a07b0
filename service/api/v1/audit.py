"""``/v1/audit``: who changed what in the organization."""

from functools import partial
from typing import Any, Final

from pydantic import Field

from service.api.instant import Instant
from service.api.lists.keyset import Keyset
from service.api.lists.page import OrderedQuery, Page, by_time, read_page
from service.api.operation import Answer, Call, Operation
from service.api.v1.event_queries import GivenInstant
from service.api.validation import AnswerModel
from service.core.audit.actor import ACTOR_ID_BYTES_MAX, ActorKind
from service.core.audit.entry import FIELD_BYTES_MAX, AuditOperation, EntryFilter, EntryView
from service.ports.desk import AuditDesk, TimeKeyset

_ID_CHARACTERS_MAX: Final = 256
_KINDS: Final = ", ".join(f"`{each}`" for each in ActorKind)


class AuditQuery(OrderedQuery):
    """Filters for audit entries; all of them must hold."""

    operation: AuditOperation | None = Field(
        default=None, description="Only entries of this operation.", examples=["endpoint.update"]
    )
    object_id: str | None = Field(
        default=None,
        max_length=_ID_CHARACTERS_MAX,
        description="Only entries about this object: the id of an endpoint, key, delivery or replay, or the name of "
        "an event type.",
        examples=["ep_7k2m9x4c1v8b3n6h"],
    )
    actor_id: str | None = Field(
        default=None,
        max_length=ACTOR_ID_BYTES_MAX,
        description="Only entries by this actor.",
        examples=["0f1e2d3c4b5a6978"],
    )
    since: GivenInstant | None = Field(
        default=None,
        description="Only changes made at this time or later. Encode `+` as `%2B`.",
        examples=["2026-11-20T00:00:00Z"],
    )
    until: GivenInstant | None = Field(
        default=None, description="Only changes made before this time.", examples=["2026-11-21T00:00:00Z"]
    )


class ActorShown(AnswerModel):
    """Who made the change."""

    kind: str = Field(description=f"One of {_KINDS}.", examples=["api_key"])
    id: str = Field(
        description="The id of an API key; `user@host` of whoever ran a command; `posthorn` for the service itself.",
        examples=["0f1e2d3c4b5a6978"],
    )
    address: str | None = Field(
        description="Where the request came from, as the service sees it: behind a proxy, the proxy. null without one.",
        examples=["192.0.2.44"],
    )


class AuditEntry(AnswerModel):
    """A change. It was entered in the transaction that made it."""

    id: str = Field(examples=["aud_7k2m9x4c1v8b3n6h"])
    at: Instant
    operation: str = Field(examples=["endpoint.update"])
    object_id: str = Field(description="What was changed.", examples=["ep_7k2m9x4c1v8b3n6h"])
    actor: ActorShown
    before: dict[str, Any] | None = Field(
        description="The fields that changed, as they were; null for what is new. Secrets, header values and values in "
        f"a URL's query are `***`. A value above {FIELD_BYTES_MAX} bytes is only measured: `omitted_bytes`.",
        examples=[{"timeout_seconds": None}],
    )
    after: dict[str, Any] | None = Field(
        description="The same fields afterwards; null for what is gone.", examples=[{"timeout_seconds": 10.0}]
    )

    @classmethod
    def of(cls, entry: EntryView) -> "AuditEntry":
        """Build it from the stored entry."""
        return cls(
            id=entry.id,
            at=entry.at,
            operation=entry.operation,
            object_id=entry.object_id,
            actor=ActorShown(kind=entry.actor_kind, id=entry.actor_id, address=entry.address),
            before=None if entry.before is None else dict(entry.before),
            after=None if entry.after is None else dict(entry.after),
        )


_BY_TIME: Final[Keyset[EntryView, TimeKeyset]] = by_time(lambda entry: (entry.at, entry.id))


class AuditOperations:
    """The handler of ``/v1/audit``."""

    def __init__(self, desk: AuditDesk) -> None:
        self._desk = desk

    async def list(self, call: Call) -> Answer:
        """List one page of entries."""
        query: AuditQuery = call.query
        wanted = EntryFilter(
            call.organization_id, query.operation, query.object_id, query.actor_id, query.since, query.until
        )
        page = await read_page(query, _BY_TIME, partial(self._desk.list, wanted))
        return Answer(200, Page[AuditEntry](data=list(map(AuditEntry.of, page.rows)), **page.links))

    def operation(self) -> Operation:
        """Return the operation."""
        return Operation(
            "GET",
            "/v1/audit",
            name="list_audit",
            summary="List audit entries",
            description="Who changed what in the organization, newest first: by API, by command line, or by Posthorn "
            "itself, such as an endpoint that was disabled. What was refused, or changed nothing, is not listed. "
            "Published events are not changes; they are listed by `GET /v1/events`.",
            tag="audit",
            scope="admin",
            handler=self.list,
            query=AuditQuery,
            answers={200: Page[AuditEntry]},
        )
