"""``GET /v1/events/{event_id}/explain``: whether an event reached every subscription, and if not, why."""

import asyncio

from pydantic import Field

from service.api.cursor import write_cursor
from service.api.instant import Instant
from service.api.operation import Answer, Call, Operation
from service.api.page import PageQuery, keyset_of
from service.api.v1.endpoints.answers import GateShown
from service.api.v1.events import TAG, no_event
from service.api.validation import AnswerModel
from service.core.deliveries.delivery import State
from service.core.deliveries.explanation import Explained, Finding, Summary, explain, summarise
from service.core.events.uid import received_at
from service.core.reason import Reason
from service.ports.desk import StoryDesk

DESCRIPTION = """What happened to the event at every subscription of the organization, including removed ones, or why
nothing happened. Ordered by subscription id. `summary` covers all subscriptions, not only this page.

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
    """A summary over all subscriptions."""

    reached_everyone: bool = Field(description="Whether every delivery of the event, or a replay of it, arrived.")
    sentence: str
    subscription_count: int
    findings: dict[Finding, int] = Field(description="The number of subscriptions with each finding.")


class ExplainedPage(AnswerModel):
    """What happened to an event."""

    event_id: str
    event_type: str
    received_at: Instant
    test: bool = Field(description="Whether it is a test send, which goes to one endpoint only.")
    summary: ExplainedSummary
    data: list[ExplainedSubscription]
    has_more: bool
    next_cursor: str | None


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
                query=PageQuery,
                answers={200: ExplainedPage},
                problems=frozenset({404}),
            ),
        )

    async def show(self, call: Call) -> Answer:
        """Explain one event, for one page of its subscriptions."""
        event_id = call.path("event_id")
        query: PageQuery = call.query
        keyset = keyset_of(query, int)
        story = await self._desk.read(call.organization_id, event_id)
        if story is None:
            raise no_event(event_id)
        explained = await asyncio.to_thread(explain, story)  # thousands of subscriptions would hold up the event loop
        after = [each for each in explained if keyset is None or each.subscription.id > keyset[0]]
        page = after[: query.limit]
        has_more = len(after) > len(page)
        shown = ExplainedPage(
            event_id=event_id,
            event_type=story.event.event_type,
            received_at=received_at(story.event.uid),
            test=story.event.is_test,
            summary=_summary(summarise(explained), len(explained)),
            data=[_subscription(each) for each in page],
            has_more=has_more,
            next_cursor=write_cursor(page[-1].subscription.id) if has_more else None,
        )
        return Answer(200, shown)


def _summary(summary: Summary, count: int) -> ExplainedSummary:
    return ExplainedSummary(
        reached_everyone=summary.reached_everyone,
        sentence=summary.sentence,
        subscription_count=count,
        findings={finding: summary.counts[finding] for finding in Finding if summary.counts.get(finding)},
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
