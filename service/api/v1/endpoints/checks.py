"""``POST /v1/endpoints/check``: what would be refused of an endpoint's settings, and what its filter would let through.

Nothing is stored, and no request is sent. It looks at a bounded number of events, in the organization's turn of the
thread for such work: a filter may take long.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from pydantic import Field

from service.api.operation import WITH_BODY_POSSIBLE, Answer, Call, Operation
from service.api.v1.endpoints.answers import ScheduleShown
from service.api.v1.endpoints.bodies import EndpointCheck
from service.api.v1.endpoints.paths import PATH, TAG
from service.api.v1.endpoints.wish import read_wish
from service.api.validation import AnswerModel
from service.core.endpoints.filter.filter import Filter, decode_envelope, parse_filter
from service.core.endpoints.refusals import InvalidWish
from service.core.endpoints.rules import EndpointRules
from service.core.endpoints.settings import NOTHING_ASKED, EndpointWish
from service.core.endpoints.subscription import covers
from service.core.events.registry import BUILT_IN
from service.core.events.view import EventFilter, EventView
from service.core.field_code import FieldCode, codes_of
from service.core.walk import Walk
from service.ports.desk import EndpointDesk, EventDesk

EVENTS_MAX: Final = 100
MISMATCHES_MAX: Final = 5


class EventMismatch(AnswerModel):
    """An event that the filter keeps back."""

    event_id: str
    event_type: str
    clause: str = Field(examples=["match.data.message.protocol.in"])
    expected: str
    found: str


class EventsMatched(AnswerModel):
    """What the filter makes of the newest events of these types."""

    examined: int = Field(description=f"At most {EVENTS_MAX}.")
    matching: int
    mismatches: list[EventMismatch] = Field(description=f"The newest that it keeps back, at most {MISMATCHES_MAX}.")


class EndpointChecked(AnswerModel):
    """What an endpoint with these settings would be."""

    is_valid: bool
    errors: dict[str, list[str]] = Field(description="What would be refused, by field.")
    codes: dict[str, FieldCode] = Field(description="Why each field would be refused, for programs.")
    retry: ScheduleShown | None = Field(description="`retry` in numbers; null if it would be refused.")
    events: EventsMatched | None = Field(
        description="null without `event_types`, and if these or the `filter` would be refused."
    )


Aside = Callable[[str, Callable[[], EventsMatched]], Awaitable[EventsMatched]]
"""Does work for an organization off the event loop, in its turn. Implemented by ``Turns.run``."""


class EndpointChecks:
    """The handler. ``rules`` are those that endpoints are written by; ``now`` returns an aware UTC datetime."""

    def __init__(
        self,
        rules: EndpointRules,
        desk: EndpointDesk,
        events: EventDesk,
        aside: Aside,
        now: Callable[[], datetime],
    ) -> None:
        self._now = now
        self._rules = rules
        self._desk = desk
        self._events = events
        self._aside = aside

    async def check(self, call: Call) -> Answer:
        """Judge the given settings as those of a new endpoint."""
        wish = read_wish(EndpointCheck, call.body_bytes)
        own = await self._desk.own_event_types(call.organization_id)
        judged = self._rules.judge(wish, NOTHING_ASKED, own, now=self._now())
        errors = judged.problems if isinstance(judged, InvalidWish) else {}
        shown = EndpointChecked(
            is_valid=not errors,
            errors={path: list(sentences) for path, sentences in errors.items()},
            codes=codes_of(errors),
            retry=ScheduleShown.of(wish.given.get("retry"), self._rules.schedule),
            events=None if _concerns_events(errors) else await self._matched(call, wish, own),
        )
        return Answer(200, shown)

    async def _matched(self, call: Call, wish: EndpointWish, own: Sequence[str]) -> EventsMatched | None:
        patterns = wish.given.get("event_types")
        wanted = wish.given.get("filter")
        found = parse_filter(wanted) if wanted is not None else Filter(())
        if not patterns or not isinstance(found, Filter):
            return None
        names = [name for name in (*BUILT_IN, *own) if any(covers(each, name) for each in patterns)]
        events = await self._events.list(EventFilter(call.organization_id, names), Walk(EVENTS_MAX))
        return await self._aside(call.organization_id, partial(_apply, found, events))

    def operation(self) -> Operation:
        """Return the operation."""
        return Operation(
            "POST",
            f"{PATH}/check",
            name="check_endpoint",
            summary="Check an endpoint's settings",
            description="Says what would be refused of the given settings of a new endpoint, when its attempts would "
            f"be made, and how many of the newest {EVENTS_MAX} events of its types its filter would let through. "
            "Nothing is stored, and no request is sent.",
            tag=TAG,
            scope="write",
            handler=self.check,
            body_schema=EndpointCheck,
            answers={200: EndpointChecked},
            problems=WITH_BODY_POSSIBLE,
            example={
                "url": "https://example.com/hooks",
                "event_types": ["message.*"],
                "filter": {"match": {"data.message.protocol": {"in": ["sms", "mms"]}}},
            },
        )


def _concerns_events(errors: Iterable[str]) -> bool:
    return any(path.startswith(("event_types", "filter")) for path in errors)


def _apply(wanted: Filter, events: Sequence[EventView]) -> EventsMatched:
    read = [decode_envelope(each.body) for each in events if each.body]  # a page of large events ends early
    mismatches, kept_back = list[EventMismatch](), 0
    for envelope in read:
        mismatch = wanted.judge(envelope)
        if mismatch is None:
            continue
        kept_back += 1
        if len(mismatches) < MISMATCHES_MAX:
            named = EventMismatch(
                event_id=envelope["id"],
                event_type=envelope["type"],
                clause=mismatch.clause,
                expected=mismatch.expected,
                found=mismatch.found,
            )
            mismatches.append(named)
    return EventsMatched(examined=len(read), matching=len(read) - kept_back, mismatches=mismatches)
