"""Explain: one finding for each subscription, whatever the story."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.deliveries.delivery import State
from service.core.deliveries.explanation import MATCHING, Explained, Finding, Summary, explain, sections_of, summarise
from service.core.deliveries.story import (
    ExplainedEvent,
    FanOutUnderWay,
    KnownDelivery,
    KnownEndpoint,
    KnownSubscription,
    Section,
    Story,
)
from service.core.endpoints.gates.gate import Gate, GateKind
from service.core.reason import Reason

AT = datetime(2026, 11, 20, 18, tzinfo=UTC)
BEFORE, AFTER = AT - timedelta(days=1), AT + timedelta(hours=1)


def endpoint(number: int = 1, **changes: Any) -> KnownEndpoint:
    return KnownEndpoint(**{"id": f"ep_{number}", "url": "https://a.example/", "updated_at": BEFORE, **changes})


def subscription(number: int = 1, event_type: str = "message.sent", **changes: Any) -> KnownSubscription:
    known: dict[str, Any] = {"id": number, "endpoint_id": "ep_1", "event_type": event_type, "created_at": BEFORE}
    return KnownSubscription(**(known | changes))


def delivery(subscription_id: int = 1, state: State = State.DELIVERED, **changes: Any) -> KnownDelivery:
    known: dict[str, Any] = {
        "id": "dlv_1",
        "subscription_id": subscription_id,
        "endpoint_id": "ep_1",
        "replay_number": 0,
        "state": state,
        "reason": None,
        "attempts_made": 1,
        "last_status": 200,
        "next_attempt_at": None,
    }
    return KnownDelivery(**(known | changes))


def story(
    subscriptions: list[KnownSubscription],
    deliveries: list[KnownDelivery] | None = None,
    endpoints: list[KnownEndpoint] | None = None,
    *,
    is_test: bool = False,
) -> Story:
    body = json.dumps({"data": {"scope": {"campaign_id": "camp_A"}}}).encode()
    known = {each.id: each for each in endpoints or [endpoint()]}
    return Story(ExplainedEvent(UUID(int=0), "message.sent", AT, is_test, body), known, subscriptions, deliveries or [])


def summary_of(explained: Sequence[Explained]) -> Summary:
    return summarise(Counter(each.finding for each in explained))


@pytest.mark.parametrize("finding", Finding)
def test_each_finding_is_listed_somewhere(finding: Finding) -> None:
    assert sections_of({finding}, with_removed=False)
    assert sections_of({finding}, with_removed=True) == sections_of({finding}, with_removed=False) | {Section.REMOVED}
    assert sections_of((), with_removed=False) == frozenset(Section) - {Section.REMOVED}


def one(of: Story) -> Explained:
    [found] = explain(of)
    return found


FILTER = {"scope": {"campaign_id": ["camp_B"]}}


@pytest.mark.parametrize(
    ("told", "finding", "words"),
    [
        (story([subscription()], [delivery()]), Finding.DELIVERED, "after 1 attempt. The last answer was 200"),
        (
            story([subscription()], [delivery(state=State.DEAD, reason=Reason.ATTEMPTS_EXHAUSTED, last_status=503)]),
            Finding.DEAD,
            "all attempts were used. The last answer was 503",
        ),
        (
            story([subscription()], [delivery(state=State.PENDING, reason=Reason.TIMEOUT, next_attempt_at=AFTER)]),
            Finding.PENDING,
            "at 2026-11-20T19:00:00.000000Z, after 1 attempt. The last one failed: the receiver did not answer in time",
        ),
        (
            story(
                [subscription()],
                [delivery(state=State.PENDING, attempts_made=0, last_status=None)],
                [endpoint(gates=(Gate(GateKind.PAUSED), Gate(GateKind.RETRY_AFTER, until=AFTER)))],
            ),
            Finding.GATED,
            "after no attempts: the endpoint is paused; the receiver asked for a pause (Retry-After), until 2026-11-20T19",
        ),
        (
            story(
                [subscription()],
                [delivery(state=State.PENDING, attempts_made=0, last_status=None)],
                [endpoint(gates=(Gate(GateKind.MAX_IN_FLIGHT), Gate(GateKind.RATE_LIMIT, until=AFTER)))],
            ),
            Finding.GATED,
            "max_in_flight allows are in flight; the endpoint's rate_limit_per_second is used up, until 2026-11-20T19",
        ),
        (
            story(
                [subscription()], [delivery(state=State.PENDING, attempts_made=0, last_status=None, waits_for="dlv_1")]
            ),
            Finding.PENDING,
            "Waiting for its next attempt, after no attempts. It waits for an earlier event of the same key: dlv_1.",
        ),
        (story([subscription()], [delivery(state=State.LEASED)]), Finding.LEASED, "Being sent now"),
        (
            story(
                [subscription(removed_at=AFTER)],
                [delivery(state=State.CANCELLED, reason=Reason.GONE, last_status=410)],
            ),
            Finding.CANCELLED,
            "answered 410, which ends the subscription. The last answer was 410. The subscription was removed at",
        ),
        (story([subscription(event_type="link.clicked")]), Finding.OTHER_EVENT_TYPE, "Subscribes to link.clicked"),
        (
            story([subscription()], endpoints=[endpoint(filter=FILTER)]),
            Finding.FILTERED_OUT,
            'scope.campaign_id expects one of "camp_B", found "camp_A".',
        ),
        (
            story([subscription()], endpoints=[endpoint(filter=FILTER, updated_at=AFTER)]),
            Finding.FILTERED_OUT,
            "The endpoint was changed after the event; this is its current filter.",
        ),
        (story([subscription(created_at=AFTER)]), Finding.SUBSCRIBED_LATER, "after the event"),
        (story([subscription(removed_at=AT - timedelta(seconds=1))]), Finding.REMOVED_BEFORE, "before the event"),
        (story([subscription()], is_test=True), Finding.TEST_FOR_ANOTHER, "one endpoint only"),
        (story([subscription()], endpoints=[endpoint(updated_at=AFTER)]), Finding.CHANGED_SINCE, "was changed at"),
        (story([subscription()]), Finding.CHANGED_SINCE, "but did not when the event arrived."),
    ],
)
def test_each_finding_in_words(told: Story, finding: Finding, words: str) -> None:
    found = one(told)
    assert (found.finding, words in found.sentence) == (finding, True), found.sentence


def test_the_most_specific_subscription_shadows_the_others() -> None:
    subscriptions = [subscription(1, "*"), subscription(2, "message.*"), subscription(3, "message.sent")]
    found = explain(story(subscriptions, [delivery(3)]))
    assert [(each.finding, each.shadowed_by) for each in found] == [
        (Finding.SHADOWED, 3),
        (Finding.SHADOWED, 3),
        (Finding.DELIVERED, None),
    ]
    assert "Subscription 3 of the same endpoint is more specific (message.sent)" in found[0].sentence
    # What happened outranks what should have: the event went to the pattern.
    found = explain(story(subscriptions, [delivery(1)]))
    assert [each.shadowed_by for each in found] == [None, 1, 1]


def test_who_is_still_to_get_it_while_the_fan_out_is_under_way() -> None:
    endpoints = [endpoint(number) for number in range(1, 6)]
    mine = [subscription(number, endpoint_id=f"ep_{number}") for number in (1, 2, 3)]
    late = subscription(9, endpoint_id="ep_5")
    gone = subscription(4, endpoint_id="ep_4", removed_at=AFTER)
    told = replace(
        story([*mine, gone, late], [delivery(2, endpoint_id="ep_2")], endpoints), fan_out=FanOutUnderWay("ep_2", 8)
    )
    explained = explain(told)
    assert [each.finding for each in explained] == [
        Finding.CHANGED_SINCE,
        Finding.DELIVERED,
        Finding.FANNING_OUT,
        Finding.REMOVED_BEFORE,
        Finding.CHANGED_SINCE,
    ]
    summary = summary_of(explained)
    assert not summary.reached_everyone
    assert summary.sentence == "It reached 1 of 2 subscriptions: 1 fanning_out."


def test_a_replay_that_arrived_counts() -> None:
    buried = delivery(state=State.DEAD, reason=Reason.AGE_EXCEEDED)
    arrived = delivery(replay_number=1)
    later = delivery(replay_number=2, state=State.PENDING)
    found = one(story([subscription()], [later, arrived, buried]))
    assert (found.finding, "This was replay 1." in found.sentence) == (Finding.DELIVERED, True)
    assert [each.replay_number for each in found.deliveries] == [0, 1, 2]


def test_the_summary() -> None:
    subscriptions = [subscription(n, endpoint_id=f"ep_{n}") for n in (1, 2, 3)]
    endpoints = [endpoint(n) for n in (1, 2, 3)]
    some = [delivery(1), delivery(2, State.DEAD, endpoint_id="ep_2", reason=Reason.TIMEOUT)]
    summary = summary_of(explain(story(subscriptions, some, endpoints)))
    assert (summary.reached_everyone, summary.sentence) == (False, "It reached 1 of 2 subscriptions: 1 dead.")
    assert summary_of(explain(story(subscriptions, [delivery(1)], endpoints))).reached_everyone
    others = summary_of(explain(story([subscription(event_type="link.clicked")])))
    assert others.sentence == "No subscription matched this event: 1 other_event_type."
    assert summarise({Finding.DELIVERED: 2}).reached_everyone
    assert not summarise({Finding.DELIVERED: 2}, 9).reached_everyone
    assert summarise({Finding.DELIVERED: 2}, 9).sentence == (
        "It reached every matching subscription (2). 9 more that ask for events of this type were not looked at."
    )
    nobody = summary_of(explain(story([])))
    assert (nobody.reached_everyone, nobody.sentence) == (True, "No subscription matched this event.")


INSTANTS = st.sampled_from([BEFORE, AT, AFTER])
SUBSCRIPTIONS = st.lists(
    st.builds(
        KnownSubscription,
        id=st.integers(1, 9),
        endpoint_id=st.sampled_from(["ep_1", "ep_2"]),
        event_type=st.sampled_from(["*", "message.*", "message.sent", "link.clicked"]),
        created_at=INSTANTS,
        removed_at=st.none() | INSTANTS,
    ),
    unique_by=lambda each: each.id,
)


@given(SUBSCRIPTIONS, st.sets(st.integers(1, 9)), st.booleans(), st.sampled_from(list(State)))
def test_every_subscription_has_its_finding(
    subscriptions: list[KnownSubscription],
    delivered: set[int],
    is_test: bool,  # noqa: FBT001 - drawn
    state: State,
) -> None:
    deliveries = [
        delivery(each.id, state, endpoint_id=each.endpoint_id, reason=Reason.TIMEOUT)
        for each in subscriptions
        if each.id in delivered
    ]
    endpoints = [endpoint(1, filter=FILTER), endpoint(2)]
    found = explain(story(subscriptions, deliveries, endpoints, is_test=is_test))
    assert [each.subscription for each in found] == subscriptions
    for each in found:
        assert (each.finding in MATCHING) == (each.subscription.id in delivered)
        assert (each.finding is Finding.SHADOWED) == (each.shadowed_by is not None)
        assert (each.finding is Finding.FILTERED_OUT) == (each.failed is not None)
        assert each.sentence.endswith(".")
    assert sum(summary_of(found).counts.values()) == len(subscriptions)
