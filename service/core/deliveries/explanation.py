"""Did an event reach everyone, and if not, why: one finding for each subscription."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, assert_never

from service.core.deliveries.delivery import State
from service.core.deliveries.story import (
    ExplainedEvent,
    KnownDelivery,
    KnownEndpoint,
    KnownSubscription,
    Section,
    Story,
)
from service.core.endpoints.filter.filter import Filter, Mismatch, decode_envelope, parse_filter
from service.core.endpoints.subscription import covers, specificity
from service.core.reason import Reason
from service.core.timestamp import format_timestamp
from service.core.wording import count_of


class Finding(StrEnum):
    """What became of the event at one subscription. The first six have a delivery; the next is about to have one."""

    DELIVERED = "delivered"
    PENDING = "pending"
    GATED = "gated"
    LEASED = "leased"
    DEAD = "dead"
    CANCELLED = "cancelled"
    FANNING_OUT = "fanning_out"
    OTHER_EVENT_TYPE = "other_event_type"
    FILTERED_OUT = "filtered_out"
    SHADOWED = "shadowed"
    SUBSCRIBED_LATER = "subscribed_later"
    REMOVED_BEFORE = "removed_before"
    TEST_FOR_ANOTHER = "test_for_another"
    CHANGED_SINCE = "changed_since"


MATCHING = frozenset(
    {
        Finding.DELIVERED,
        Finding.PENDING,
        Finding.GATED,
        Finding.LEASED,
        Finding.DEAD,
        Finding.CANCELLED,
        Finding.FANNING_OUT,
    }
)
"""The findings of subscriptions that matched the event."""

_OF_SECTION: Mapping[Section, Finding] = {
    Section.DEAD: Finding.DEAD,
    Section.CANCELLED: Finding.CANCELLED,
    Section.GATED: Finding.GATED,
    Section.PENDING: Finding.PENDING,
    Section.LEASED: Finding.LEASED,
    Section.DELIVERED: Finding.DELIVERED,
    Section.OTHER_TYPE: Finding.OTHER_EVENT_TYPE,
}
"""The sections in which all have the same finding."""


@dataclass(frozen=True, slots=True)
class Explained:
    """The finding at one subscription, in a word and in a sentence.

    ``failed`` is the filter clause that did not hold; ``shadowed_by`` is the id of the subscription that took
    precedence.
    """

    subscription: KnownSubscription
    endpoint: KnownEndpoint
    finding: Finding
    sentence: str
    deliveries: tuple[KnownDelivery, ...] = ()
    failed: Mismatch | None = None
    shadowed_by: int | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """The findings counted. ``reached_everyone``: all were looked at, and each delivery, or a replay of it, arrived."""

    reached_everyone: bool
    sentence: str
    counts: Mapping[Finding, int] = field(default_factory=dict)


def explain(story: Story) -> Sequence[Explained]:
    """What became of the event at each subscription, in the order of ``story.subscriptions``."""
    envelope = decode_envelope(story.event.body)
    failures = {each.id: _failed(each, envelope) for each in story.endpoints.values()}
    deliveries: dict[int, list[KnownDelivery]] = {}
    for delivery in sorted(story.deliveries, key=lambda each: each.replay_number):
        deliveries.setdefault(delivery.subscription_id, []).append(delivery)
    served = _served(story)
    return [
        _with_delivery(each, endpoint, tuple(deliveries[each.id]))
        if each.id in deliveries
        else _without_delivery(each, endpoint, story, served.get(endpoint.id), failures[endpoint.id])
        for each in story.subscriptions
        for endpoint in (story.endpoints[each.endpoint_id],)
    ]


def tally(story: Story, explained: Iterable[Explained]) -> tuple[Mapping[Finding, int], int]:
    """How many subscriptions have each finding, without the removed ones, and how many were not looked at."""
    counts = Counter({_OF_SECTION[section]: count for section, count in story.counts.items() if section in _OF_SECTION})
    counts += Counter(each.finding for each in explained if each.subscription.id in story.surveyed)
    return counts, max(0, story.counts.get(Section.ASKING, 0) - len(story.surveyed))


def summarise(counts: Mapping[Finding, int], uncounted: int = 0) -> Summary:
    """The answer in one line. ``uncounted`` more ask for events of this type, and were not looked at."""
    of = Counter(counts)
    wanted = sum(of[finding] for finding in MATCHING)
    reached = of[Finding.DELIVERED]
    if not wanted:
        why = _counted(of, frozenset(Finding))
        sentence = f"No subscription matched this event: {why}." if why else "No subscription matched this event."
    elif reached == wanted:
        sentence = f"It reached every matching subscription ({reached})."
    else:
        missed = _counted(of, MATCHING - {Finding.DELIVERED})
        sentence = f"It reached {reached} of {count_of(wanted, 'subscription')}: {missed}."
    if uncounted:
        sentence += f" {uncounted} more that ask for events of this type were not looked at."
    return Summary(reached == wanted and not uncounted, sentence, {each: of[each] for each in Finding if of[each]})


def _counted(counts: Mapping[Finding, int], among: Collection[Finding]) -> str:
    return ", ".join(f"{counts[each]} {each}" for each in Finding if each in among and counts[each])


def sections_of(findings: Collection[Finding], *, with_removed: bool) -> frozenset[Section]:
    """Where subscriptions with these findings (none: with any) are listed."""
    by_finding = {finding: section for section, finding in _OF_SECTION.items()} | {
        Finding.REMOVED_BEFORE: Section.REMOVED
    }
    wanted = {by_finding.get(each, Section.ASKING) for each in findings or set(Finding) - {Finding.REMOVED_BEFORE}}
    return frozenset(wanted | {Section.REMOVED} if with_removed else wanted)


def _failed(endpoint: KnownEndpoint, envelope: Mapping[str, Any]) -> Mismatch | None:
    wanted = parse_filter(endpoint.filter) if endpoint.filter is not None else None
    return wanted.judge(envelope) if isinstance(wanted, Filter) else None


def _served(story: Story) -> Mapping[str, KnownSubscription]:
    """For each endpoint, the subscription that got the event or would have got it: the most specific one."""
    with_delivery = {each.subscription_id for each in story.deliveries}

    def rank(each: KnownSubscription) -> tuple[bool, tuple[bool, int], int]:
        return each.id in with_delivery, specificity(each.event_type), -each.id

    served: dict[str, KnownSubscription] = {}
    for each in story.subscriptions:
        if each.id in with_delivery or _was_asking(each, story.event):
            known = served.get(each.endpoint_id)
            served[each.endpoint_id] = each if known is None else max(known, each, key=rank)
    return served


def _was_asking(subscription: KnownSubscription, event: ExplainedEvent) -> bool:
    is_over = subscription.removed_at is not None and subscription.removed_at <= event.received_at
    is_early = subscription.created_at > event.received_at
    return not is_over and not is_early and covers(subscription.event_type, event.event_type)


def _without_delivery(  # noqa: PLR0911 - one return for each finding
    subscription: KnownSubscription,
    endpoint: KnownEndpoint,
    story: Story,
    served: KnownSubscription | None,
    failed: Mismatch | None,
) -> Explained:
    event = story.event
    found = partial(Explained, subscription, endpoint)
    is_changed = endpoint.updated_at > event.received_at
    todays = " The endpoint was changed after the event; this is its current filter." if is_changed else ""
    if endpoint.valid_until is not None and endpoint.valid_until <= event.received_at:
        sentence = f"The endpoint expired at {_at(endpoint.valid_until)} (valid_until), before the event."
        return found(Finding.REMOVED_BEFORE, sentence)
    if subscription.removed_at is not None and subscription.removed_at <= event.received_at:
        return found(Finding.REMOVED_BEFORE, f"Removed at {_at(subscription.removed_at)}, before the event.")
    if not covers(subscription.event_type, event.event_type):
        return found(Finding.OTHER_EVENT_TYPE, f"Subscribes to {subscription.event_type}, not {event.event_type}.")
    if subscription.created_at > event.received_at:
        return found(Finding.SUBSCRIBED_LATER, f"Subscribed at {_at(subscription.created_at)}, after the event.")
    if failed is not None:
        sentence = f"Filtered out: {failed.clause} expects {failed.expected}, found {failed.found}."
        return found(Finding.FILTERED_OUT, sentence + todays, failed=failed)
    if served is not None and served.id != subscription.id:
        sentence = f"Subscription {served.id} of the same endpoint is more specific ({served.event_type})."
        return found(Finding.SHADOWED, sentence, shadowed_by=served.id)
    if event.is_test:
        return found(Finding.TEST_FOR_ANOTHER, "A test event goes to one endpoint only, and it was not this one.")
    if subscription.removed_at is not None:
        return found(Finding.REMOVED_BEFORE, f"Removed at {_at(subscription.removed_at)}, before its turn came.")
    if _is_being_fanned_out(story, subscription):
        return found(Finding.FANNING_OUT, "Its delivery is about to be made: the event's fan-out is under way.")
    sentence = "It would match the event today, but did not when the event arrived"
    why = f": the endpoint was changed at {_at(endpoint.updated_at)}, after the event." if is_changed else "."
    return found(Finding.CHANGED_SINCE, sentence + why)


def _is_being_fanned_out(story: Story, subscription: KnownSubscription) -> bool:
    under_way = story.fan_out
    if under_way is None:
        return False
    return subscription.endpoint_id > under_way.done_through and subscription.id <= under_way.frontier


def _with_delivery(
    subscription: KnownSubscription, endpoint: KnownEndpoint, deliveries: tuple[KnownDelivery, ...]
) -> Explained:
    """The finding of the delivery that arrived, else of the latest one."""
    told = next((each for each in deliveries if each.state is State.DELIVERED), deliveries[-1])
    finding, sentence = _told(told, endpoint)
    if told.replay_number:
        sentence += f" This was replay {told.replay_number}."
    if subscription.removed_at is not None:
        sentence += f" The subscription was removed at {_at(subscription.removed_at)}."
    return Explained(subscription, endpoint, finding, sentence, deliveries)


def _told(delivery: KnownDelivery, endpoint: KnownEndpoint) -> tuple[Finding, str]:
    made = _times(delivery.attempts_made)
    answer = f" The last answer was {delivery.last_status}." if delivery.last_status else ""
    why = WHY.get(delivery.reason, str(delivery.reason)) if delivery.reason else ""
    match delivery.state:
        case State.DELIVERED:
            return Finding.DELIVERED, f"Delivered, after {made}.{answer}"
        case State.DEAD:
            return Finding.DEAD, f"Given up after {made}: {why}.{answer}"
        case State.CANCELLED:
            return Finding.CANCELLED, f"Cancelled after {made}: {why}.{answer}"
        case State.LEASED:
            return Finding.LEASED, f"Being sent now, after {made}.{answer}"
        case State.PENDING:
            failing = f" The last one failed: {why}.{answer}" if why else answer
            if endpoint.gates:
                gates = "; ".join(each.sentence for each in endpoint.gates)
                return Finding.GATED, f"Waiting, after {made}: {gates}.{failing}"
            due = f" at {_at(delivery.next_attempt_at)}" if delivery.next_attempt_at else ""
            if delivery.waits_for is not None:
                failing = f" It waits for an earlier event of the same key: {delivery.waits_for}."
            return Finding.PENDING, f"Waiting for its next attempt{due}, after {made}.{failing}"
        case _:
            assert_never(delivery.state)


def _times(attempts: int) -> str:
    return "no attempts" if not attempts else "1 attempt" if attempts == 1 else f"{attempts} attempts"


def _at(at: datetime) -> str:
    return format_timestamp(at)


WHY: Mapping[Reason, str] = {
    Reason.HTTP_STATUS: "the receiver answered with an error status",
    Reason.REDIRECT: "the receiver redirects, which is not followed",
    Reason.GONE: "the receiver answered 410, which ends the subscription",
    Reason.PAYLOAD_TOO_LARGE: "the receiver does not accept a body this large",
    Reason.TIMEOUT: "the receiver did not answer in time",
    Reason.CONNECT_REFUSED: "the connection was refused",
    Reason.CONNECT_RESET: "the connection was reset",
    Reason.DNS: "the host name could not be resolved",
    Reason.TLS: "the TLS connection failed",
    Reason.PROTOCOL_ERROR: "the answer was not valid HTTP",
    Reason.BLOCKED_DESTINATION: "the address is not allowed",
    Reason.STALE_CONNECTION: "the connection had gone stale",
    Reason.LOST: "the worker was lost during the attempt",
    Reason.INTERNAL: "an internal error in Posthorn",
    Reason.EGRESS_PROXY: "the proxy that Posthorn connects through failed; this is not the receiver's fault",
    Reason.AUTH_REFUSED: "the endpoint's token server refused to give a token; check its auth",
    Reason.AUTH_UNAVAILABLE: "the endpoint's token server could not be asked for a token",
    Reason.ATTEMPTS_EXHAUSTED: "all attempts were used",
    Reason.AGE_EXCEEDED: "the next attempt would be past the age limit",
    Reason.CRASHES_WORKER: "three requests in a row ended with the loss of their worker",
    Reason.SUBSCRIPTION_DELETED: "the subscription was removed",
    Reason.ENDPOINT_EXPIRED: "the endpoint expired",
    Reason.PAST_RETENTION: "it was still waiting when its event was about to be deleted",
}
