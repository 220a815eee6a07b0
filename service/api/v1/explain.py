"""``GET /v1/events/{event_id}/explain``: whether an event reached every subscription, and if not, why."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal

from pydantic import Field, WithJsonSchema

from service.api.instant import Instant
from service.api.lists.keyset import Keyset
from service.api.lists.page import MORE, NEXT, PREVIOUS, OrderedQuery, read_page
from service.api.lists.several import Several
from service.api.operation import Answer, Call, Operation
from service.api.v1.endpoints.answers import GateShown
from service.api.v1.events import TAG, no_event
from service.api.validation import AnswerModel
from service.core.deliveries.delivery import State
from service.core.deliveries.explanation import Explained, Finding, Summary, explain, sections_of, summarise, tally
from service.core.deliveries.story import SURVEY_MAX, Listed, Section, Story, StoryPage
from service.core.events.uid import received_at
from service.core.reason import Reason
from service.core.walk import Walk
from service.ports.desk import StoryDesk

DESCRIPTION = """What happened to the event at every subscription of the organization, or why nothing happened.
`summary` answers for all subscriptions, not only this page. What matters most is listed first: `dead`, `cancelled`,
`gated`, `pending`, `leased`, `delivered`, then those that ask for the event's type but have no delivery, then the
others; each in the order of their ids. `order=desc` turns the list. Subscriptions that were removed without a delivery
of the event are listed only with `removed=true`. A page with `finding` may have fewer than `limit`, or none, and still
a `next_cursor`. A subscription whose finding changes while you read on may be missed, or listed twice.

| finding | |
|---|---|
| `delivered` `pending` `leased` `dead` `cancelled` | there is a delivery in this state |
| `gated` | there is a pending delivery, which waits for the endpoint; `gates` says why |
| `fanning_out` | its delivery is about to be made: an event for many endpoints is fanned out in chunks |
| `other_event_type` | the subscription is for another event type |
| `filtered_out` | the endpoint's filter excluded it; see `filter_clause` |
| `shadowed` | a more specific subscription of the same endpoint, `shadowed_by`, applies |
| `subscribed_later` `removed_before` | the subscription was created after the event arrived, or removed before |
| `test_for_another` | it is a test event for another endpoint |
| `changed_since` | it would match today; the endpoint was changed after the event |"""


_EXAMINED_MAX: Final = 500
"""As many subscriptions are read for a page with ``finding``."""

FindingAsked = Annotated[Finding, WithJsonSchema({"type": "string", "enum": [each.value for each in Finding]})]


class ExplainQuery(OrderedQuery):
    """What to list."""

    order: Literal["asc", "desc"] = Field(
        default="asc", description="`asc`: what matters most first; `desc`: last. The same for all pages of a list."
    )
    finding: Several[FindingAsked] | None = Field(
        default=None,
        description="Only subscriptions with this finding, or with one of these.",
        examples=[["dead", "filtered_out"]],
    )
    removed: bool = Field(
        default=False, description="Also list subscriptions that were removed without a delivery of the event."
    )


class ExplainedDelivery(AnswerModel):
    """A delivery of the event: the first one, or a replay."""

    id: str
    replay_number: int
    state: State
    reason: Reason | None
    attempts_made: int
    last_status: int | None
    next_attempt_at: Instant | None
    waits_for: str | None = Field(
        description="The id of the delivery that it waits for: an earlier one with the same value at the endpoint's "
        "`order_by`."
    )


class ClauseShown(AnswerModel):
    """The first clause of the filter that did not hold."""

    clause: str = Field(examples=["scope.campaign_id"])
    expected: str
    found: str


class ExplainedSubscription(AnswerModel):
    """What happened to the event at one subscription."""

    subscription_id: int
    endpoint_id: str
    url: str = Field(description="The endpoint's URL, with `?***` instead of its query.")
    event_type: str = Field(description="The subscription's event type or pattern.")
    removed_at: Instant | None
    finding: Finding
    sentence: str
    deliveries: list[ExplainedDelivery] = Field(description="The first one, then its replays.")
    gates: list[GateShown]
    filter_clause: ClauseShown | None
    shadowed_by: int | None


class ExplainedSummary(AnswerModel):
    """A summary over all subscriptions, but for those that were removed without a delivery."""

    sentence: str = Field(
        description="The answer for the whole event.", examples=["It reached 2 of 3 subscriptions: 1 dead."]
    )
    reached_everyone: bool = Field(description="Whether every delivery of the event, or a replay of it, arrived.")
    subscription_count: int
    removed_count: int = Field(description="Subscriptions removed without a delivery; listed with `removed=true`.")
    findings: dict[Finding, int] = Field(description="The number of subscriptions with each finding.")
    is_complete: bool = Field(
        description=f"False if more than {SURVEY_MAX} subscriptions ask for events of this type and have no delivery "
        "of this one: of them, only so many are in `findings`."
    )


class ExplainedPage(AnswerModel):
    """What happened to an event."""

    summary: ExplainedSummary
    event_id: str
    event_type: str
    received_at: Instant
    test: bool = Field(description="Whether it is a test send, which goes to one endpoint only.")
    data: list[ExplainedSubscription]
    has_more: bool = MORE
    next_cursor: str | None = NEXT
    prev_cursor: str | None = PREVIOUS


class ExplainOperations:
    """Explains events."""

    def __init__(self, desk: StoryDesk) -> None:
        self._desk = desk

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations."""
        return (
            Operation(
                "GET",
                "/v1/events/{event_id}/explain",
                name="explain_event",
                summary="Explain an event",
                description=DESCRIPTION,
                tag=TAG,
                scope="read",
                handler=self.show,
                query=ExplainQuery,
                answers={200: ExplainedPage},
                problems=frozenset({404}),
            ),
        )

    async def show(self, call: Call) -> Answer:
        """Explain one event, for one page of its subscriptions."""
        event_id = call.path("event_id")
        query: ExplainQuery = call.query
        findings = frozenset(query.finding or ())
        sections = sections_of(findings, with_removed=query.removed)
        read = list[tuple[Story, Sequence[Explained]]]()

        async def fetch(walk: Walk[Listed]) -> Sequence[_Row]:
            examined = replace(walk, limit=_EXAMINED_MAX) if findings else walk
            story = await self._desk.read(call.organization_id, event_id, StoryPage(sections, examined))
            if story is None:
                raise no_event(event_id)
            # Hundreds of filters would hold up the event loop.
            explained = await asyncio.to_thread(explain, story)
            read.append((story, explained))
            return _rows(story, explained, findings, examined.limit)[: walk.limit]

        page = await read_page(query, _BY_PLACE, fetch)
        story, explained = read[-1]
        counts, uncounted = tally(story, explained)
        answer = ExplainedPage(
            summary=_summary(story, summarise(counts, uncounted), is_complete=not uncounted),
            event_id=event_id,
            event_type=story.event.event_type,
            received_at=received_at(story.event.uid),
            test=story.event.is_test,
            data=[_subscription(each.explained) for each in page.rows if each.explained is not None],
            **page.links,
        )
        return Answer(200, answer)


@dataclass(frozen=True, slots=True)
class _Row:
    """A subscription that is listed. Without what explains it, it says how far the list was read."""

    place: Listed
    explained: Explained | None = None


_BY_PLACE: Final[Keyset[_Row, Listed]] = Keyset(
    of=lambda row: row.place,
    kinds=(int, int),
    write=lambda place: (int(place.section), place.subscription_id),
    read=lambda section, subscription_id: Listed(Section(section), subscription_id),
    is_whole=lambda row: row.explained is not None,
    is_reached=lambda row: row.explained is None,
)


def _rows(story: Story, explained: Sequence[Explained], findings: Collection[Finding], limit: int) -> Sequence[_Row]:
    """Those listed that have one of the findings (none: any); and how far was read, if ``limit`` ended it."""
    by_id = {each.subscription.id: each for each in explained}
    listed = [_Row(each, by_id[each.subscription_id]) for each in story.listed]
    if not findings:
        return listed
    wanted = [each for each in listed if each.explained is not None and each.explained.finding in findings]
    return wanted if len(listed) < limit else [*wanted, _Row(listed[-1].place)]


def _summary(story: Story, summary: Summary, *, is_complete: bool) -> ExplainedSummary:
    removed_count = story.counts.get(Section.REMOVED, 0)
    return ExplainedSummary(
        sentence=summary.sentence,
        reached_everyone=summary.reached_everyone,
        subscription_count=sum(story.counts.values()) - removed_count,
        removed_count=removed_count,
        findings=dict(summary.counts),
        is_complete=is_complete,
    )


def _subscription(each: Explained) -> ExplainedSubscription:
    failed = each.failed
    return ExplainedSubscription(
        subscription_id=each.subscription.id,
        endpoint_id=each.endpoint.id,
        url=each.endpoint.url,
        event_type=each.subscription.event_type,
        removed_at=each.subscription.removed_at,
        finding=each.finding,
        sentence=each.sentence,
        deliveries=[ExplainedDelivery.model_validate(one, from_attributes=True) for one in each.deliveries],
        gates=GateShown.of(each.endpoint.gates) if each.finding is Finding.GATED else [],
        filter_clause=ClauseShown(clause=failed.clause, expected=failed.expected, found=failed.found)
        if failed is not None
        else None,
        shadowed_by=each.shadowed_by,
    )
